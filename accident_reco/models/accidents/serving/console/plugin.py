"""What the accident model brings to the console: the scene builder, files, outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.console.sections import ModelPages, NavLink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import APIRouter

    from accident_reco.settings import Settings
    from serving.common.middleware import RouteLimits
    from serving.console.context import Console


def build_pages(model: str, title: str) -> ModelPages:
    """The pages of one instance of the model."""

    def routers(console: Console) -> Sequence[APIRouter]:
        from accident_reco.models.accidents.serving.console import file_pages, outcome_pages, pages

        return [each.router(console, model) for each in (pages, file_pages, outcome_pages)]

    def limits(settings: Settings) -> Mapping[str, RouteLimits]:
        from accident_reco.models.accidents.serving.console.file_pages import build_limits

        return build_limits(model, settings)

    links = [NavLink(title, f"/m/{model}", "predict")]
    return ModelPages(package=__package__, links=links, routers=routers, limits=limits)
