"""Movie models: the split, four candidates in parallel on the same rows, the chosen one, the gate."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from accident_reco.defs.mlflow_tracking import track
from accident_reco.defs.promotion import Promotion, move_pointer
from accident_reco.defs.resources import Platform
from accident_reco.defs.steps import FORKED_TRAINING
from accident_reco.lifecycle.bundle import Bundle, Manifest
from accident_reco.lifecycle.gate import Comparison
from accident_reco.lifecycle.lineage import lineage
from accident_reco.lifecycle.tracking import VERSION_TAG, TrackedRun
from accident_reco.models.movies.assets import training_checks as checks
from accident_reco.models.movies.assets.ingest import OWNERS, warehouse_tables
from accident_reco.models.movies.training import assembly, gating
from accident_reco.models.movies.training import candidates as candidate_training
from accident_reco.models.movies.training.inputs import save_inputs

GROUP = "movies_training"
COMMON: dict[str, Any] = {"key_prefix": "movies", "group_name": GROUP, "owners": OWNERS, "code_version": "1"}
PARITY = 1e-6
PRIORITY = {"knn": 2, "svd": 1, "baseline": 0, "als": 0}
CANDIDATES = {
    "svd": ("svd_model", "Surprise SVD: biases and factors, for the stars.", {"python", "numpy"}),
    "knn": ("knn_model", "Surprise KNNBaseline over similar movies, for the stars.", {"python", "numpy"}),
    "baseline": ("baseline_model", "Surprise BaselineOnly: biases alone.", {"python", "numpy"}),
    "als": ("ranking_model", "implicit ALS: factors that rank; stars from biases.", {"python", "numpy"}),
}


@dg.asset(
    **COMMON, deps=[warehouse_tables], kinds={"parquet", "sql"}, io_manager_key="frames", check_specs=[checks.SPLIT],
    description="Which ratings train and which judge: users and movies with enough ratings; a frozen holdout by hash.",
)  # fmt: skip
def ratings_split(platform: Platform) -> Iterator[dg.Output[pd.DataFrame] | dg.AssetCheckResult]:
    """Read the ratings from the warehouse and divide them."""
    options = assembly.options_of(platform.settings)
    found, simulated, received_until = assembly.split_of(
        platform.warehouse, options.split, platform.settings.movies_max_ratings
    )
    data_source, _ = assembly.sources_of(platform.objects)
    frame = assembly.split_frame(found)
    # Kept with the frame, so that a version knows which of a user's ratings came after its rows were read.
    frame.attrs["received_until"] = received_until
    yield dg.Output(frame, metadata={
        "train": len(found.train), "holdout": len(found.holdout), "simulated": simulated, "data_source": data_source,
        "left_out": dg.MetadataValue.json(found.left_out),
    })  # fmt: skip
    yield checks.nobody_trains_on_the_holdout(platform, frame)


def _candidate(kind: str) -> dg.AssetsDefinition:
    name, description, kinds = CANDIDATES[kind]
    key = dg.AssetKey(["movies", name])

    @dg.asset(
        **COMMON, name=name, description=f"{description} 3-fold cross-validated, measured on the holdout.", kinds=kinds,
        io_manager_key="bundles",
        # The longest first: where fewer run at once than there are, none of these is left for the end.
        op_tags={"dagster/priority": str(PRIORITY[kind])},
        check_specs=[dg.AssetCheckSpec(
            "scores_as_trained", asset=key, blocking=True,
            description="The bundle's scores are finite and equal the training library's own within 1e-6.",
        )],
    )  # fmt: skip
    def candidate(
        context: dg.AssetExecutionContext, platform: Platform, ratings_split: pd.DataFrame
    ) -> Iterator[dg.Output[Bundle] | dg.AssetCheckResult]:
        rows = assembly.rows_of(ratings_split, platform.warehouse, platform.objects)
        data_source, sources = assembly.sources_of(platform.objects)
        origin = {
            "data_source": data_source, "sources": sources, "dagster_run_id": context.run.run_id,
            "ratings_received_until": int(ratings_split.attrs["received_until"]),
        }  # fmt: skip
        made = candidate_training.train_candidate(kind, rows, assembly.options_of(platform.settings), origin)
        metrics = made.bundle.metrics
        differs = made.parity or 0.0
        yield dg.Output(
            made.bundle,
            metadata={
                "headline": assembly.headline(metrics),
                **{metric: float(value) for metric, value in metrics.items()},
                "fit_seconds": round(made.fit_seconds, 3),
                "folds": dg.MetadataValue.md(_fold_table(made.folds)),
                "bytes": sum(len(content) for content in made.bundle.files.values()),
                "data_source": data_source,
            },
        )
        yield dg.AssetCheckResult(
            check_name="scores_as_trained",
            passed=differs <= PARITY,
            severity=dg.AssetCheckSeverity.ERROR,
            description="implicit's factors are taken as they are"
            if made.parity is None
            else f"largest difference to Surprise {differs:.1e} stars",
        )

    return candidate


svd_model, knn_model, baseline_model, ranking_model = (_candidate(kind) for kind in ("svd", "knn", "baseline", "als"))


@dg.asset(
    **COMMON, kinds={"numpy", "mlflow"}, io_manager_key="bundles", check_specs=[checks.CANDIDATE],
    description="The winner by the candidate rule (RMSE admits, NDCG@10 decides), with reference profile and card.",
)  # fmt: skip
def candidate_model(
    context: dg.AssetExecutionContext, platform: Platform, ratings_split: pd.DataFrame, svd_model: Bundle,
    knn_model: Bundle, baseline_model: Bundle, ranking_model: Bundle,
) -> Iterator[dg.Output[Bundle] | dg.AssetCheckResult]:  # fmt: skip
    """Choose, complete, track."""
    settings = platform.settings
    rows = assembly.rows_of(ratings_split, platform.warehouse, platform.objects)
    candidates = {"svd": svd_model, "knn": knn_model, "baseline": baseline_model, "als": ranking_model}
    chosen, choice = candidate_training.winner(candidates, assembly.rule_of(settings), rows)
    temporal = candidate_training.temporal_report(choice.winner, rows, assembly.options_of(settings))
    run_id = track(context, platform, _tracked(chosen, candidates, temporal))
    origin = lineage(
        data_source=str(chosen.lineage["data_source"]), sources=chosen.lineage["sources"],
        dagster_run_id=context.run.run_id, mlflow_run_id=run_id, git_commit=settings.git_commit,
        ratings_received_until=chosen.lineage["ratings_received_until"], choice=choice.reason,
        candidates={kind: {"version": c.version, **_headline(c.metrics)} for kind, c in candidates.items()},
    )  # fmt: skip
    bundle = Bundle(candidate_training.MODEL, chosen.files, chosen.signature, {**chosen.metrics, **temporal}, origin)
    yield dg.Output(bundle, metadata={
        "version": bundle.version, "kind": choice.winner, "choice": choice.reason,
        "headline": assembly.headline(bundle.metrics), "mlflow_run_id": run_id or "spooled",
        **{name: float(value) for name, value in bundle.metrics.items() if not name.startswith("fold_")},
        "card": dg.MetadataValue.md(bundle.files["card.md"].decode()), "data_source": str(origin["data_source"]),
    })  # fmt: skip
    yield checks.movie_candidate_complete(platform, bundle)


@dg.asset(
    **COMMON, kinds={"numpy"}, check_specs=[checks.CHAMPION],
    description="The version that answers: the candidate if the gate lets it, or an older one after a rollback.",
)  # fmt: skip
def production_model(
    context: dg.AssetExecutionContext, config: Promotion, platform: Platform, candidate_model: Bundle,
    ratings_split: pd.DataFrame,
) -> dg.MaterializeResult:  # fmt: skip
    """Move the pointer, or tell why not."""

    def against(manifest: Manifest, files: Mapping[str, bytes]) -> Comparison:
        rows = assembly.rows_of(ratings_split, platform.warehouse, platform.objects)
        return gating.compare(candidate_model, rows, manifest, files)

    def fill(folder: Path) -> None:
        save_inputs(platform.objects, platform.warehouse, platform.settings, candidate_model, folder)

    def problems() -> list[str]:
        # The check stopped its own run; this one reads what that run stored.
        return assembly.data_problems(platform.warehouse)

    policy = assembly.policy_of(platform.settings)
    moved = move_pointer(context, platform, config, candidate_model, against, policy, fill, problems)
    return moved._replace(check_results=[checks.movie_champion_answers(platform)])


def _fold_table(folds: list[dict[str, float]]) -> str:
    rows = "\n".join(f"| {number} | {fold['rmse']:.4f} | {fold['mae']:.4f} |" for number, fold in enumerate(folds, 1))
    return f"| fold | RMSE | MAE |\n|---|---|---|\n{rows}"


def _headline(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(metrics[name]) for name in ("rmse", "ndcg_at_10") if name in metrics}


def _tracked(chosen: Bundle, candidates: Mapping[str, Bundle], temporal: Mapping[str, float]) -> TrackedRun:
    params = {**chosen.signature["options"], **chosen.signature["trained_on"], "kind": chosen.signature["kind"]}
    metrics = {**chosen.metrics, **temporal}
    for kind, candidate in candidates.items():
        metrics |= {f"{kind}_{name}": value for name, value in candidate.metrics.items()}
    tags = {VERSION_TAG: chosen.version, "data_source": str(chosen.lineage["data_source"]),
            "algorithm": str(chosen.signature["kind"])}  # fmt: skip
    shown = {
        "card.md": chosen.files["card.md"],
        "signature.json": json.dumps(chosen.signature, indent=1).encode(),
        "arrays.npz": chosen.files["arrays.npz"],
    }
    return TrackedRun(
        candidate_training.MODEL, f"{candidate_training.MODEL}-{chosen.version}", params, metrics, tags, shown
    )


train_movies = dg.define_asset_job(
    "train_movies",
    selection=dg.AssetSelection.assets(
        ratings_split, svd_model, knn_model, baseline_model, ranking_model, candidate_model, production_model
    ),
    description="Ratings in the warehouse to the version that answers.",
    executor_def=FORKED_TRAINING,
)
