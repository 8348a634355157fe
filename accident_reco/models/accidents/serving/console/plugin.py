"""What the accident model brings to the console: the scene builder, files, outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.console.sections import ModelPages, NavLink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import APIRouter

    from serving.console.context import Console


def build_pages(model: str, title: str) -> ModelPages:
    """The pages of one instance of the model."""

    def routers(console: Console) -> Sequence[APIRouter]:
        from accident_reco.models.accidents.serving.console import outcome_pages, pages

        return [each.router(console, model) for each in (pages, outcome_pages)]

    return ModelPages(package=__package__, links=[NavLink(title, f"/m/{model}", "predict")], routers=routers)
