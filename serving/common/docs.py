"""`/docs`: Swagger UI served by this process alone, with a login that requests a token; and `/openapi.json`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse, RedirectResponse, Response

from accident_reco.settings import Settings
from serving.common.guard import RequiredScope
from serving.common.identity import SCOPES
from serving.common.problems import MEDIA_TYPE, Problem, ProblemDetails

_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
# The page's own script is inline; it may connect to this service and the auth service only.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self' {auth}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def install(app: FastAPI, settings: Settings, routers: Sequence[APIRouter]) -> None:
    """Add `/docs` with its assets, and complete `/openapi.json` with security schemes and problem responses."""
    policy = _POLICY.format(auth=settings.auth_url)

    @app.get("/", include_in_schema=False)
    async def start_page() -> Response:
        # Relative, so that it holds behind a proxy's prefix.
        return RedirectResponse("docs", 307)

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon-32x32.png",
            swagger_ui_parameters={"persistAuthorization": False, "displayRequestDuration": True},
        )
        page.headers["content-security-policy"] = policy
        return page

    @app.get("/docs/{asset}", include_in_schema=False)
    async def documentation_asset(asset: str, request: Request) -> Response:
        media_type = _ASSETS.get(asset)
        if media_type is None:
            raise Problem(404, "There is no such file.")
        return Response(_read_asset(asset), media_type=media_type, headers={"cache-control": "public, max-age=86400"})

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_document() -> Response:
        # Written once: it takes longer than a request without a token may.
        if not hasattr(app.state, "openapi_json"):
            app.state.openapi_json = orjson.dumps(app.openapi())
        return Response(app.state.openapi_json, media_type="application/json")

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app, settings.auth_url, routers)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


@cache
def _read_asset(name: str) -> bytes:
    return files("fastapi_swagger.resources").joinpath(name).read_bytes()


def _collect_scopes(routers: Sequence[APIRouter]) -> dict[tuple[str, str], str]:
    """(path, method) → scope that the operation requires."""
    found = {}
    for route in (route for router in routers for route in router.routes if isinstance(route, APIRoute)):
        for dependency in route.dependencies:
            if isinstance(dependency.dependency, RequiredScope):
                for method in route.methods or ():
                    found[route.path, method] = dependency.dependency.scope
    return found


def _build_security_schemes(auth_url: str) -> dict[str, Any]:
    login = {"type": "oauth2", "flows": {"password": {"tokenUrl": f"{auth_url}/token", "scopes": dict(SCOPES)}}}
    return {"login": login, "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}


def _describe(app: FastAPI, auth_url: str, routers: Sequence[APIRouter]) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    schema.setdefault("components", {})["securitySchemes"] = _build_security_schemes(auth_url)
    components = schema["components"].setdefault("schemas", {})
    problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    components.update(problem.pop("$defs", {}))
    components["ProblemDetails"] = problem
    # FastAPI's own validation errors are never returned: `problems` replaces them.
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    problem_schema = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    scopes = _collect_scopes(routers)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            scope = scopes.get((path, method.upper()))
            if scope is not None:
                operation["security"] = [{"login": [scope]}, {"api_key": []}]
                for status, description in (
                    ("401", "No valid token or key"),
                    ("403", f"Requires the scope {scope}"),
                    ("429", "Too many requests"),
                ):
                    operation["responses"].setdefault(
                        status, {"description": description, "content": {MEDIA_TYPE: problem_schema}}
                    )
            if "422" in operation["responses"]:
                operation["responses"]["422"] = {
                    "description": "Invalid request",
                    "content": {MEDIA_TYPE: problem_schema},
                }
            for status, description in (("413", "Body too large"), ("415", "Not JSON")):
                if "requestBody" in operation:
                    operation["responses"].setdefault(
                        status, {"description": description, "content": {MEDIA_TYPE: problem_schema}}
                    )
    return schema
