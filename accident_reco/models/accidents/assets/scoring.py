"""Batch scoring of whole years with the champion, by the same code as requests."""

from typing import Any

import dagster as dg
import pandas as pd

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.store import NoSuchVersion
from accident_reco.models.accidents.assets.ingest import OWNERS, VICTIMS
from accident_reco.models.accidents.assets.partitions import single_run, years
from accident_reco.models.accidents.data.raw_store import load_frame
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.scoring.answer import build_answer_columns
from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.training.assembly import MODEL
from accident_reco.models.accidents.training.training_rows import extract_columns

GROUP = "accidents_training"
SCORED = dg.AssetKey(["accidents", "scored_victims"])
PRODUCTION = dg.AssetKey(["accidents", "production_model"])


def score_road_users(scorer: AccidentScorer, victims: pd.DataFrame, version: str) -> pd.DataFrame:
    """Keys, probability, class and uncertainty of every row; bit for bit those of the predict service."""
    answer = scorer.answer(extract_columns(victims))
    keys = victims[[name for name in ("Num_Acc", "id_usager", "id_vehicule", "num_veh") if name in victims]]
    return keys.assign(**build_answer_columns(answer), version=version)


@dg.multi_asset(
    name="scored_victims",
    outs={
        "scored_victims": dg.AssetOut(
            key=SCORED,
            group_name=GROUP,
            owners=OWNERS,
            kinds={"onnx", "parquet"},
            io_manager_key="frames",
            code_version="1",
            description="Every road user of a year with the champion's probability.",
        ),
    },
    deps=[VICTIMS, PRODUCTION],
    partitions_def=years,
    backfill_policy=single_run,
)
def scored_victims(context: dg.AssetExecutionContext, platform: Platform) -> dict[str, pd.DataFrame]:
    """Score every year of the run; partition key → frame."""
    champion = platform.models.champion(MODEL)
    if champion is None:
        raise NoSuchVersion("there is no champion of the accident model; fix: train one first")
    manifest = champion[1]
    scorer = AccidentScorer.from_files(platform.models.files(manifest), manifest)
    scored, rows, severe = {}, 0, 0
    for year in context.partition_keys:
        victims = load_frame(platform.objects, "victims", int(year))
        scored[year] = score_road_users(scorer, victims, manifest.version)
        rows, severe = rows + len(victims), severe + int(is_severe(victims["grav"]).sum())
    context.add_output_metadata(
        {
            "version": manifest.version,
            "data_source": manifest.data_source,
            "road_users": rows,
            "grave_share": severe / max(rows, 1),
            "mean_probability": float(pd.concat(scored.values())["probability"].mean()) if rows else 0.0,
        }
    )
    return scored


@dg.asset_check(asset=SCORED, description="Every road user has a probability between 0 and 1.")
def every_road_user_scored(scored_victims: pd.DataFrame) -> dg.AssetCheckResult:
    """Passes when no probability is missing or out of range."""
    probability = scored_victims["probability"]
    return dg.AssetCheckResult(passed=bool(probability.between(0, 1).all()), metadata={"road_users": len(probability)})


def build_score_job(executor: dg.ExecutorDefinition | None) -> Any:
    """The partitioned job of batch scoring."""
    return dg.define_asset_job(
        "score_accidents",
        selection=dg.AssetSelection.assets(SCORED),
        description="Score whole years with the champion.",
        executor_def=executor,
    )
