"""The page of the scene builder: form, answer, comparison, place, outcome. See docs: Predict accident severity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from accident_reco.models.accidents.serving.console import form_layout as layout
from accident_reco.models.accidents.serving.console.answer_view import build_view, describe_user, list_differences
from accident_reco.models.accidents.serving.console.form_layout import Language, Words, choose_language
from accident_reco.models.accidents.serving.console.france_map import HEIGHT, WIDTH, locate, place
from accident_reco.models.accidents.serving.console.scene import (
    EXAMPLE,
    Scene,
    build_request,
    decode,
    encode,
    find_field,
    get_date,
    read_form,
)
from accident_reco.models.accidents.serving.console.texts import build_translator
from serving.console.api import ApiProblem
from serving.console.context import Console
from serving.console.page import Page, page_router
from serving.console.problem_pages import ProblemPage, describe_api_problem

SMALL_MAP: Final = 300
"""Width of the map in pixels where no script tells the size: the browser sends the pixel that was clicked."""
_EMPTY: Final = Scene()


@dataclass(frozen=True)
class Request:
    """What a form or an address asks for.

    Args:
        scene: the scene that is edited.
        other: the scene that it is compared with, or None.
    """

    scene: Scene
    other: Scene | None
    language: Language

    def build_path(self, base: str, fragment: str = "") -> str:
        """Address that holds the scenes; empty where they are too large for one."""
        links = [encode(self.scene), encode(self.other) if self.other else ""]
        if not links[0] or (self.other and not links[1]):
            return ""
        query = {"scene": links[0], "other": links[1], "lang": self.language}
        return f"{base}?{urlencode({name: value for name, value in query.items() if value})}{fragment}"


def router(console: Console, model: str) -> APIRouter:
    """The pages of one model."""
    routes = page_router(console, "predict")
    base = f"/m/{model}"

    @routes.get(base)
    async def show_scene(page: Page, scene: str = "", other: str = "", lang: str = "") -> Response:
        found = decode(scene) if scene else EXAMPLE
        request = Request(found or EXAMPLE, decode(other), choose_language(lang, get_accepted(page)))
        return await _show(page, model, request, is_bad_link=found is None)

    @routes.post(base)
    async def change_scene(page: Page) -> Response:
        fields = await page.form_fields()
        request = _read(page, fields.multi_items())
        notice = ""
        if click := _read_click(fields):
            scene = await _move(page, model, request.scene, click)
            notice = "" if scene else build_translator(request.language)("no_map")
            request, fragment = Request(scene or request.scene, request.other, request.language), "#place"
        else:
            request, fragment = apply(request, str(fields.get("do", "")))
        path = request.build_path(base, fragment)
        return page.redirect(path, notice) if path else await _show(page, model, request)

    @routes.post(f"{base}/answer")
    async def answer(page: Page) -> Response:
        request = _read(page, (await page.form_fields()).multi_items())
        response = page.render(f"{model}/answer.html", **await _answer(page, model, request))
        if path := request.build_path(base):
            # The address always holds what is shown: it can be reloaded, kept and sent.
            response.headers["HX-Replace-Url"] = path
        return response

    @routes.post(f"{base}/place")
    async def set_place(page: Page) -> Response:
        fields = await page.form_fields()
        request = _read(page, fields.multi_items())
        click = _read_click(fields)
        scene = await _move(page, model, request.scene, click) if click else None
        values = await _build_form(page, model, Request(scene or request.scene, request.other, request.language))
        response = page.render(f"{model}/place.html", **values | {"is_missed": scene is None})
        response.headers["HX-Trigger-After-Settle"] = "placed"
        return response

    return routes


def _read(page: Page, fields: Sequence[tuple[str, Any]]) -> Request:
    values = [(name, str(value)) for name, value in fields]
    known = dict(values)
    return Request(
        read_form(values), decode(known.get("other", "")), choose_language(known.get("lang", ""), get_accepted(page))
    )


def get_accepted(page: Page) -> str:
    """The languages that the browser prefers."""
    return page.headers.get("accept-language", "")


def apply(request: Request, action: str) -> tuple[Request, str]:
    """What a button of the form does: the new scenes, and the part of the page to go to. Pure."""
    scene, other, language = request.scene, request.other, request.language
    kind, _, argument = action.partition(":")
    fragment = ""
    match kind:
        case "add-vehicle":
            scene = scene.add_vehicle()
            added = [each.id for each in scene.vehicles if each.id not in {old.id for old in request.scene.vehicles}]
            fragment = f"#v-{added[0]}" if added else "#vehicles"
        case "add-passenger" | "add-pedestrian":
            scene = scene.add_user(on_foot=kind == "add-pedestrian")
            fragment = f"#u-{len(scene.users) - 1}"
        case "remove-vehicle":
            scene, fragment = scene.remove_vehicle(argument), "#vehicles"
        case "remove-user" if argument.isdecimal():
            scene, fragment = scene.remove_user(int(argument)), "#users"
        case "clear-place":
            scene, fragment = scene.move({}), "#place"
        case "example":
            scene = EXAMPLE
        case "empty":
            scene = _EMPTY
        case "compare":
            other, fragment = scene, "#comparison"
        case "swap" if other:
            scene, other = other, scene
        case "single":
            other = None
        case "lang":
            language = choose_language(argument, "")
        case _:
            fragment = "#answer"
    return Request(scene, other, language), fragment


def _read_click(fields: Mapping[str, Any]) -> tuple[float, float] | None:
    """Position of a click in the drawing: from the script, else from the browser in pixels of the small map."""
    for names, scale in ((("at.x", "at.y"), 1.0), (("map.x", "map.y"), WIDTH / SMALL_MAP)):
        try:
            x, y = (float(str(fields[name])) * scale for name in names)
        except (KeyError, ValueError):
            continue
        if (x, y) != (0.0, 0.0):  # the image was chosen by keyboard: that is no point
            return x, y
    return None


async def _move(page: Page, model: str, scene: Scene, click: tuple[float, float]) -> Scene | None:
    """The scene at the place of a click, with the department and the commune that the champion's data knows there.

    None for a click beside the map.
    """
    location = locate(*click)
    if location is None:
        return None
    lat, long = location
    commune = await page.api.fetch("predict", f"/{model}/nearest-commune", lat=lat, long=long)
    codes = {name: str(commune.value[name]) for name in ("dep", "com")} if commune.value else {}
    return scene.move({"lat": str(lat), "long": str(long), **codes})


async def _show(page: Page, model: str, request: Request, *, is_bad_link: bool = False) -> Response:
    answered = await _answer(page, model, request)
    values = answered | await _build_form(page, model, request, answered["errors"]) | {"is_bad_link": is_bad_link}
    problem = answered["problem"]
    return page.render(f"{model}/scene.html", problem.status if problem else 200, **values)


async def _build_form(
    page: Page, model: str, request: Request, errors: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Values of the form's templates."""
    metadata = await page.api.fetch("predict", f"/v2/models/{model}")
    inputs = [each["name"] for each in metadata.value["inputs"]] if metadata.value else []
    words, scene = Words(request.language, inputs), request.scene
    lat, long = (_to_number(scene.accident.get(name, "")) for name in ("lat", "long"))
    mark = place(lat, long) if lat is not None and long is not None else None
    commune = None
    if mark is not None:
        commune = (await page.api.fetch("predict", f"/{model}/nearest-commune", lat=lat, long=long)).value
    return _build_common(model, request) | {
        "words": words,
        "layout": layout,
        "errors": errors or {},
        "date": get_date(scene.accident),
        "mark": mark,
        "commune": commune,
        "is_missed": False,
        "map_size": (WIDTH, HEIGHT),
        "user_titles": [describe_user(user, scene, words) for user in scene.users],
        "languages": layout.LANGUAGES,
    }


def _build_common(model: str, request: Request) -> dict[str, Any]:
    return {
        "base": f"/m/{model}",
        "model": model,
        "t": build_translator(request.language),
        "language": request.language,
        "scene": request.scene,
        "compared": request.other,
        "other_link": encode(request.other) if request.other else "",
    }


async def _answer(page: Page, model: str, request: Request) -> dict[str, Any]:
    """Values of the answer's templates: the view of each scene, or the problem with the fields that it names."""
    t, words = build_translator(request.language), Words(request.language)
    scenes = [scene for scene in (request.scene, request.other) if scene is not None and scene.users]
    views: list[Any] = []
    problem: ProblemPage | None = None
    errors: dict[str, str] = {}
    if request.scene.users:
        try:
            found = await page.api.post(
                "predict", f"/predict/{model}", build_request(scenes), explain="true", advise="true"
            )
            views = [build_view(found, scene, words, at) for at, scene in enumerate(scenes)]
        except ApiProblem as refused:
            problem = describe_api_problem(refused)
            errors = name_errors(problem.errors, request.scene)
            errors = {name: words.rule(name.rpartition(".")[2], rule) for name, rule in errors.items()}
    differences = (
        list_differences(request.other, request.scene, words, t("accident"), t("vehicle")) if request.other else []
    )
    return _build_common(model, request) | {
        "view": views[0] if views else None,
        "other_view": views[1] if len(views) > 1 else None,
        "differences": differences,
        "problem": problem,
        "errors": errors,
        "labels": {name: words.name(name.rpartition(".")[2]) for name in errors},
        "link": request.build_path(f"/m/{model}"),
        "severities": words.severities(),
    }


def name_errors(errors: Mapping[str, str], scene: Scene) -> dict[str, str]:
    """Field of the form → rule that it violates; vehicles by their letter."""
    named = {}
    for pointer, rule in errors.items():
        name = find_field(pointer)
        part, _, rest = name.partition(".#")
        if rest:
            at, _, field = rest.partition(".")
            name = f"{part}.{scene.vehicles[int(at)].id}.{field}" if int(at) < len(scene.vehicles) else ""
        if name:
            named[name] = rule
    return named


def _to_number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None
