"""`<model>/dataset_version`: the champion's inputs under DVC, in the graph only where versioning is on.

Materialized by the run that promotes a candidate, before its pointer moves.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from accident_reco.contract import Model
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.dataset import Datasets
from accident_reco.settings import Settings

WriteInputs = Callable[[Path], None]
"""Writes a candidate's inputs into a folder."""


def dataset_key(model: str) -> dg.AssetKey:
    """Asset key of a model's dataset version."""
    return dg.AssetKey([model, "dataset_version"])


def definitions(model: Model, settings: Settings) -> dg.Definitions:
    """The asset of a model; empty definitions where versioning is off."""
    if not settings.dvc_remote:
        return dg.Definitions()
    spec = dg.AssetSpec(
        dataset_key(model.name),
        deps=[dg.AssetKey([model.name, "candidate_model"])],
        group_name=f"{model.name}_training",
        kinds={"dvc", "git"},
        description="Exact inputs of the promoted version as DVC-tracked data, recorded at promotion.",
    )
    return dg.Definitions(assets=[spec])


def build_recorder(
    context: dg.AssetExecutionContext, platform: Platform, write_inputs: WriteInputs
) -> Callable[[Bundle], Mapping[str, Any]] | None:
    """The function with which a promotion versions its inputs, or None where versioning is off.

    It returns the inputs' entry in the candidate's lineage.
    """
    settings = platform.settings
    if not settings.dvc_remote:
        return None

    def record(candidate: Bundle) -> Mapping[str, Any]:
        dataset = Datasets(settings).keep(candidate.model, candidate.version, write_inputs)
        if dataset.problem:
            context.log.warning(
                "inputs of %s %s wait in %s: %s; the next promotion sends them, or `python -m "
                "accident_reco.lifecycle push`",
                candidate.model,
                candidate.version,
                settings.datasets,
                dataset.problem,
            )
        context.log_event(
            dg.AssetMaterialization(
                dataset_key(candidate.model),
                metadata={
                    **dataset.lineage(),
                    "version": candidate.version,
                    "files": dataset.files,
                    "bytes": dataset.size,
                    "pushed": dataset.problem or "yes",
                },
            )
        )
        return {"dataset": dataset.lineage()}

    return record
