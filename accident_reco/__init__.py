"""Road-accident severity and movie recommendations: one ML platform, one closed loop."""

from __future__ import annotations

from typing import Any

_COMPONENTS = ("ModelLoop",)
"""Dagster components, by the names that `defs.yaml` uses: `accident_reco.ModelLoop`. Imported when used: services are
part of this package and never load Dagster."""


def __getattr__(name: str) -> Any:
    if name in _COMPONENTS:
        from accident_reco.defs import model_loop

        return getattr(model_loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_COMPONENTS])
