"""Batch scoring of whole years with the champion, by the same code as requests."""

from typing import Any, Final

import dagster as dg
import pandas as pd

from accident_reco.defs.automation import FOLLOW_CONTENT
from accident_reco.defs.freshness import YEARLY
from accident_reco.defs.links import describe_object, link_version
from accident_reco.defs.resources import Platform
from accident_reco.defs.training_loop import training_group
from accident_reco.lifecycle.store import NoSuchVersion
from accident_reco.models.accidents.assets.ingest import VICTIMS
from accident_reco.models.accidents.assets.lineage import describe_scores
from accident_reco.models.accidents.assets.partitions import YEARS, single_run
from accident_reco.models.accidents.data.raw_store import load_frame
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.model import AccidentModel
from accident_reco.models.accidents.scoring.answer import build_answer_columns
from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.training.training_rows import extract_columns

KEYS: Final = ("Num_Acc", "id_usager", "id_vehicule", "num_veh")
"""Columns that identify a road user."""


def scored_key(model: str) -> dg.AssetKey:
    """Asset key of a model's batch scores."""
    return dg.AssetKey([model, "scored_victims"])


def score_road_users(scorer: AccidentScorer, victims: pd.DataFrame, version: str) -> pd.DataFrame:
    """Keys, probability, class and uncertainty of every row; bit for bit those of the predict service."""
    answer = scorer.answer(extract_columns(victims))
    keys = victims[[name for name in KEYS if name in victims]]
    return keys.assign(**build_answer_columns(answer), version=version)


def build_scored_victims(model: AccidentModel, pool: str | None) -> dg.AssetsDefinition:
    """The asset of the instance's batch scores, in a pool or in none."""

    @dg.multi_asset(
        name="scored_victims" if model.is_base else f"{model.name}__scored_victims",  # names of ops are unique
        outs={
            "scored_victims": dg.AssetOut(
                key=scored_key(model.name),
                group_name=training_group(model.name),
                kinds={"onnx", "parquet"},
                io_manager_key="frames",
                code_version="1",
                description="Every road user of a year with the champion's probability.",
                automation_condition=FOLLOW_CONTENT,
                freshness_policy=YEARLY,
            ),
        },
        deps=[VICTIMS, dg.AssetKey([model.name, "production_model"])],
        partitions_def=YEARS,
        backfill_policy=single_run,
        pool=pool,
    )
    def scored_victims(context: dg.AssetExecutionContext, platform: Platform) -> dict[str, pd.DataFrame]:
        """Score every year of the run; partition key → frame."""
        champion = platform.models.champion(model.name)
        if champion is None:
            raise NoSuchVersion(f"there is no champion of {model.name}; fix: train one first")
        manifest = champion[1]
        scorer = AccidentScorer.from_files(platform.models.files(manifest), manifest)
        scored = {}
        for year in context.partition_keys:
            victims = load_frame(platform.objects, "victims", int(year))
            scored[year] = score_road_users(scorer, victims, manifest.version)
            facts = {
                "dagster/row_count": len(victims),
                "version": manifest.version,
                "data_source": manifest.data_source,
                "grave_share": float(is_severe(victims["grav"]).mean()) if len(victims) else 0.0,
                "mean_probability": float(scored[year]["probability"].mean()) if len(victims) else 0.0,
                **describe_object(platform.settings, f"assets/{model.name}/scored_victims/{year}.parquet"),
                **link_version(platform.settings, model.name, manifest.version),
                **describe_scores(scored[year], KEYS, scorer.spec.columns),
            }
            context.add_asset_metadata(facts, asset_key=scored_key(model.name), partition_key=year)
        return scored

    return scored_victims


def build_score_check(model: str) -> dg.AssetChecksDefinition:
    """The check of a model's batch scores."""

    @dg.asset_check(asset=scored_key(model), description="Every road user has a probability between 0 and 1.")
    def every_road_user_scored(scored_victims: pd.DataFrame) -> dg.AssetCheckResult:
        """Passes when no probability is missing or out of range."""
        probability = scored_victims["probability"]
        return dg.AssetCheckResult(
            passed=bool(probability.between(0, 1).all()), metadata={"road_users": len(probability)}
        )

    return every_road_user_scored


def build_score_job(model: str, executor: dg.ExecutorDefinition | None) -> Any:
    """The partitioned job `score_<model>` of batch scoring."""
    return dg.define_asset_job(
        f"score_{model}",
        selection=dg.AssetSelection.assets(scored_key(model)),
        description="Score whole years with the champion.",
        executor_def=executor,
    )
