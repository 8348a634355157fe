"""How pages come into the console: sections of its own, and what `contract.Model.console` returns.

See docs: Add a page to the console.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter

    from accident_reco.settings import Settings
    from serving.common.middleware import RouteLimits
    from serving.console.context import Console


@dataclass(frozen=True)
class NavLink:
    """A page in the navigation.

    Args:
        scope: shown to people with this scope only; empty: to everyone who has logged in.
    """

    title: str
    path: str
    scope: str = ""


def no_limits(settings: Settings) -> Mapping[str, RouteLimits]:
    """The default limits for every path."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Section:
    """Pages that belong together.

    Args:
        links: the pages in the navigation.
        routers: console → routers of the pages, each built by `page_router`.
        limits: settings → path → limits of requests that differ from the default, such as file uploads.
        is_first: whether its links are before those of the models.
    """

    links: Sequence[NavLink]
    routers: Callable[[Console], Sequence[APIRouter]]
    limits: Callable[[Settings], Mapping[str, RouteLimits]] = no_limits
    is_first: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelPages(Section):
    """Pages of one model; their paths are at or below `/m/<model>`.

    Args:
        package: package whose folders `templates` and `static` hold the files: `scene.html` there is the template
            `<model>/scene.html`, and `map.js` is `static_url("<model>/map.js")`. Empty: there are none.
    """

    package: str = ""
