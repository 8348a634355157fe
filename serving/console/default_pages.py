"""The page of a model that brings none: a form by the schema of `POST /predict/<model>`, the answer explained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from accident_reco.contract import Model
from serving.console.api import ApiProblem
from serving.console.context import Console
from serving.console.page import Page, page_router
from serving.console.problem_pages import describe_api_problem
from serving.console.schema_forms import SchemaForm, build_body, find_field_errors, read_form
from serving.console.sections import ModelPages, NavLink


def default_pages(model: Model) -> ModelPages:
    """The pages of a model without pages of its own."""
    path = f"/m/{model.name}"
    return ModelPages(links=[NavLink(model.title, path, "predict")], routers=lambda console: [_router(console, model)])


def _router(console: Console, model: Model) -> APIRouter:
    routes = page_router(console, "predict")
    path, endpoint = f"/m/{model.name}", f"/predict/{model.name}"

    async def show(page: Page, form: SchemaForm | None, **values: Any) -> Response:
        shown = {"given": {}, "errors": {}, "answer": None, "problem": None} | values
        return page.render("model.html", shown.pop("status", 200), model=model, form=form, endpoint=endpoint, **shown)

    @routes.get(path)
    async def show_form(page: Page) -> Response:
        return await show(page, await _read_form(page, endpoint))

    @routes.post(path)
    async def predict(page: Page) -> Response:
        form = await _read_form(page, endpoint)
        if form is None:
            return await show(page, form)
        given = {str(name): str(value) for name, value in (await page.form_fields()).items()}
        body, errors = build_body(form, given)
        if errors:
            return await show(page, form, given=given, errors=errors, status=422)
        try:
            answer = await page.api.post("predict", endpoint, body)
        except ApiProblem as problem:
            described = describe_api_problem(problem)
            errors = find_field_errors(form, described.errors)
            return await show(page, form, given=given, errors=errors, problem=described, status=problem.status)
        return await show(page, form, given=given, answer=list(flatten(answer)))

    return routes


async def _read_form(page: Page, endpoint: str) -> SchemaForm | None:
    return read_form(await page.api.get("predict", "/openapi.json"), endpoint)


def flatten(answer: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Field → value of an answer, the first of each list of objects in place of the list, objects as text."""
    for name, value in answer.items():
        if isinstance(value, Sequence) and not isinstance(value, str) and value and isinstance(value[0], Mapping):
            yield from flatten(value[0])
        else:
            yield name, value
