"""The platform's Dagster definitions: each model's own assets, those of every model, and the loop over all models."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import dagster as dg

from accident_reco import loops, registry
from accident_reco.contract import Model
from accident_reco.defs import retrain_sensors, rollback, run_workers
from accident_reco.defs.io import BundleIOManager, FrameIOManager
from accident_reco.defs.model_loop import build_loop
from accident_reco.defs.resources import Platform
from accident_reco.defs.steps import FORKED_STEPS
from accident_reco.settings.loops import PACKAGED, declarations

platform = Platform()
_built: list[dg.Definitions] = []


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of this installation's models: the code location.

    Models that `loops` declares are components; those of other packages and folders are built the same way.
    """
    return _built[0] if _built else _build()


def build_once() -> None:
    """Build the definitions now, for this process and its forks: half a second that no run and no step repeats.

    They open nothing, so that forks may share them.
    """
    _built[:] = [_build()]
    _built[0].get_repository_def().get_all_jobs()


def _build() -> dg.Definitions:
    chosen = registry.models(platform.settings)
    declared = {name for name, one in declarations().items() if PACKAGED in one.file.parents}
    components = _load_components()
    others = [build_loop(model, platform.settings) for name, model in chosen.items() if name not in declared]
    return _complete(chosen, platform, components, *others)


def _load_components() -> dg.Definitions:
    # Dagster's loader warns of beta features that it uses itself, once per definition, also when these are resolved.
    for category in (dg.BetaWarning, dg.PreviewWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module=r"dagster\.|pydantic\.deprecated")
    return dg.ComponentTree.from_module(loops, project_root=PACKAGED.parents[1]).build_defs()


def build_defs(models: Iterable[Model], platform: Platform) -> dg.Definitions:
    """The definitions of a platform with these models."""
    chosen = {model.name: model for model in models}
    return _complete(chosen, platform, *(build_loop(model, platform.settings) for model in chosen.values()))


def _complete(names: Iterable[str], platform: Platform, *loops: dg.Definitions) -> dg.Definitions:
    """The models' definitions with what is common to all of them."""
    known = list(names)
    return dg.Definitions.merge(
        dg.Definitions(
            executor=FORKED_STEPS,
            resources={
                "platform": platform,
                "frames": FrameIOManager(platform=platform),
                "bundles": BundleIOManager(platform=platform),
            },
        ),
        *loops,
        retrain_sensors.definitions(known, platform.settings),  # drift, performance, new data, requests, failures
        rollback.definitions(known, platform.settings),  # older versions, pointer moves that no run recorded
        run_workers.definitions(),  # runs whose process is gone
    )
