"""Resources that all pages share; built by the app, never global."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from accident_reco.contract import Model
from accident_reco.settings import Settings
from serving.common.metrics import Metrics

if TYPE_CHECKING:
    from serving.console.figures import FigureSource
    from serving.console.rendering import Renderer
    from serving.console.sections import NavLink
    from serving.console.sessions import Sessions


@dataclass(frozen=True)
class Console:
    """Passed to every router factory of the console.

    Args:
        models: models of the installation, by name.
        clients: service → HTTP client with its base URL.
        navigation: links of all pages, in order.
        figures: source of the page Monitoring.
    """

    settings: Settings
    metrics: Metrics
    models: Mapping[str, Model]
    clients: Mapping[str, httpx.AsyncClient]
    sessions: Sessions
    renderer: Renderer
    navigation: Sequence[NavLink]
    figures: FigureSource
