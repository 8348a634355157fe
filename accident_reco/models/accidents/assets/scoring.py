"""Batch scoring: every road user of a year, by the champion, with the code that answers requests."""

from typing import Any

import dagster as dg
import pandas as pd

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.store import NoSuchVersion
from accident_reco.models.accidents.assets.ingest import OWNERS, VICTIMS
from accident_reco.models.accidents.assets.partitions import single_run, years
from accident_reco.models.accidents.data.raw_store import load_frame
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.scoring.answer import answer_columns
from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.training.assembly import MODEL
from accident_reco.models.accidents.training.training_rows import columns_of

GROUP = "accidents_training"
SCORED = dg.AssetKey(["accidents", "scored_victims"])
PRODUCTION = dg.AssetKey(["accidents", "production_model"])


def score_people(scorer: AccidentScorer, victims: pd.DataFrame, version: str) -> pd.DataFrame:
    """Keys, probability, class and doubt of every row; the same bits as the service's answers."""
    answer = scorer.answer(columns_of(victims))
    keys = victims[[name for name in ("Num_Acc", "id_usager", "id_vehicule", "num_veh") if name in victims]]
    return keys.assign(**answer_columns(answer), version=version)


@dg.multi_asset(
    name="scored_victims",
    outs={
        "scored_victims": dg.AssetOut(
            key=SCORED, group_name=GROUP, owners=OWNERS, kinds={"onnx", "parquet"}, io_manager_key="frames",
            code_version="1", description="Every road user of a year with the champion's probability.",
        ),
    },
    deps=[VICTIMS, PRODUCTION], partitions_def=years, backfill_policy=single_run,
)  # fmt: skip
def scored_victims(context: dg.AssetExecutionContext, platform: Platform) -> dict[str, pd.DataFrame]:
    """Score year by year."""
    champion = platform.models.champion(MODEL)
    if champion is None:
        raise NoSuchVersion("no accident model serves yet; train one first")
    manifest = champion[1]
    scorer = AccidentScorer.from_files(platform.models.files(manifest), manifest)
    scored, people, grave = {}, 0, 0
    for year in context.partition_keys:
        victims = load_frame(platform.objects, "victims", int(year))
        scored[year] = score_people(scorer, victims, manifest.version)
        people, grave = people + len(victims), grave + int(is_severe(victims["grav"]).sum())
    context.add_output_metadata({
        "version": manifest.version, "data_source": manifest.data_source, "people": people,
        "grave_share": grave / max(people, 1),
        "mean_probability": float(pd.concat(scored.values())["probability"].mean()) if people else 0.0,
    })  # fmt: skip
    return scored


@dg.asset_check(asset=SCORED, description="Every road user has a probability between 0 and 1.")
def every_road_user_scored(scored_victims: pd.DataFrame) -> dg.AssetCheckResult:
    """One answer per road user."""
    probability = scored_victims["probability"]
    return dg.AssetCheckResult(passed=bool(probability.between(0, 1).all()), metadata={"people": len(probability)})


def score_job(executor: dg.ExecutorDefinition | None) -> Any:
    """The job over batch scores, by year."""
    return dg.define_asset_job(
        "score_accidents",
        selection=dg.AssetSelection.assets(SCORED),
        description="Score whole years with the champion.",
        executor_def=executor,
    )
