"""`<model>/dataset_version`: the champion's inputs under DVC. In the graph only where versioning is on; made
in the run that promotes a candidate, before its pointer moves."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from accident_reco.contract import Model
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.dataset import Datasets
from accident_reco.settings import Settings

Fill = Callable[[Path], None]


def key_of(model: str) -> dg.AssetKey:
    """Key of a model's asset."""
    return dg.AssetKey([model, "dataset_version"])


def definitions(model: Model, settings: Settings) -> dg.Definitions:
    """The asset of a model, or nothing where versioning is off."""
    if not settings.dvc_remote:
        return dg.Definitions()
    spec = dg.AssetSpec(
        key_of(model.name),
        deps=[dg.AssetKey([model.name, "candidate_model"])],
        group_name=f"{model.name}_training",
        owners=[model.owner],
        kinds={"dvc", "git"},
        description="The exact inputs of the version that was promoted, as DVC-tracked data; made at promotion.",
    )
    return dg.Definitions(assets=[spec])


def keeper(
    context: dg.AssetExecutionContext, platform: Platform, fill: Fill
) -> Callable[[Bundle], Mapping[str, Any]] | None:
    """What a promotion calls to keep its inputs and to have them named in the lineage; None where versioning is off."""
    settings = platform.settings
    if not settings.dvc_remote:
        return None

    def keep(candidate: Bundle) -> Mapping[str, Any]:
        made = Datasets(settings).keep(candidate.model, candidate.version, fill)
        if made.problem:
            context.log.warning(
                "inputs of %s %s wait in %s: %s; they go with the next promotion, or with `python -m "
                "accident_reco.lifecycle push`", candidate.model, candidate.version, settings.datasets, made.problem,
            )  # fmt: skip
        context.log_event(
            dg.AssetMaterialization(
                key_of(candidate.model),
                metadata={
                    **made.lineage(), "version": candidate.version, "files": made.files, "bytes": made.size,
                    "pushed": made.problem or "yes",
                },
            )
        )  # fmt: skip
        return {"dataset": made.lineage()}

    return keep
