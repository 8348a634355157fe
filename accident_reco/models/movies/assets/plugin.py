"""The training half of the movie model, as `accident_reco.contract.ModelTraining` describes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import dagster as dg

from accident_reco.contract import Candidate, Check, Evaluated, Fitted, Frames, ModelTraining, Platform, Step
from accident_reco.lifecycle.bundle import CARD_FILE, Bundle, Manifest
from accident_reco.lifecycle.gate import Comparison, GatePolicy
from accident_reco.models.movies.assets import ingest, split
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.settings import Settings

PARITY: Final = 1e-6
"""Largest difference in stars between the bundle's scores and those of the training library."""
PARITY_CHECK: Final = "scores_as_trained"
FOLDS: Final = "3-fold cross-validated, measured on the holdout."


def _candidate(asset: str, description: str, priority: int = 0) -> Candidate:
    return Candidate(asset, f"{description} {FOLDS}", frozenset({"python", "numpy"}), priority)


class MovieTraining(ModelTraining):
    """Four candidates on the same rows; the winner by the candidate rule (RMSE admits, NDCG@10 decides)."""

    candidates: ClassVar = {
        "svd": _candidate("svd_model", "Surprise SVD: biases and factors, for the stars.", priority=1),
        "knn": _candidate("knn_model", "Surprise KNNBaseline over similar movies, for the stars.", priority=2),
        "baseline": _candidate("baseline_model", "Surprise BaselineOnly: biases alone."),
        "als": _candidate("ranking_model", "implicit ALS: factors that rank; stars from biases."),
    }
    prepared = ("ratings_split",)
    fit_inputs = ("ratings_split",)
    evaluate_inputs = ("ratings_split",)
    compare_inputs = ("ratings_split",)
    fit_check = (PARITY_CHECK, "The bundle's scores are finite and equal the training library's within 1e-6.")
    reproduction_inputs = ("ratings_split",)

    def definitions(self, settings: Settings) -> dg.Definitions:
        modules = (ingest, split)
        return dg.Definitions(
            assets=dg.load_assets_from_modules(modules),
            asset_checks=dg.load_asset_checks_from_modules(modules),
            jobs=[ingest.ingest_movies],
        )

    def fit(self, kind: str, frames: Frames, platform: Platform) -> Fitted:
        from accident_reco.models.movies.training import assembly, candidates

        frame = frames["ratings_split"]
        rows = assembly.rows_of(frame, platform.warehouse, platform.objects)
        data_source, sources = assembly.sources_of(platform.objects)
        origin = {
            "data_source": data_source,
            "sources": sources,
            "ratings_received_until": int(frame.attrs["received_until"]),
        }
        options = assembly.options_of(platform.settings.of(MovieSettings))
        fitted = candidates.train_candidate(kind, rows, options, origin)
        difference = fitted.parity or 0.0
        reason = (
            "implicit's factors are used unchanged"
            if fitted.parity is None
            else f"largest difference to Surprise {difference:.1e} stars"
        )
        shown = {
            "headline": assembly.headline(fitted.bundle.metrics),
            **{metric: float(value) for metric, value in fitted.bundle.metrics.items()},
            "fit_seconds": round(fitted.fit_seconds, 3),
            "folds": dg.MetadataValue.md(_fold_table(fitted.folds)),
            "data_source": data_source,
        }
        return Fitted(fitted.bundle, Check(PARITY_CHECK, difference <= PARITY, reason), shown)

    def evaluate(self, candidates: Mapping[str, Bundle], frames: Frames, platform: Platform) -> Evaluated:
        from accident_reco.models.movies.training import assembly
        from accident_reco.models.movies.training import candidates as training

        settings = platform.settings.of(MovieSettings)
        rows = assembly.rows_of(frames["ratings_split"], platform.warehouse, platform.objects)
        chosen, choice = training.winner(candidates, assembly.rule_of(settings), rows)
        temporal = training.temporal_report(choice.winner, rows, assembly.options_of(settings))
        bundle = Bundle(
            training.MODEL, chosen.files, chosen.signature, {**chosen.metrics, **temporal}, dict(chosen.lineage)
        )
        return Evaluated(
            bundle,
            choice.winner,
            choice.reason,
            params={**chosen.signature["options"], **chosen.signature["trained_on"], "kind": choice.winner},
            metrics={
                f"{kind}_{name}": value for kind, one in candidates.items() for name, value in one.metrics.items()
            },
            artifacts={
                CARD_FILE: bundle.files[CARD_FILE],
                "signature.json": json.dumps(bundle.signature, indent=1).encode(),
                "arrays.npz": bundle.files["arrays.npz"],
            },
        )

    def gate_policy(self, settings: Settings) -> GatePolicy:
        from accident_reco.models.movies.training import assembly

        return assembly.policy_of(settings.of(MovieSettings))

    def compare(
        self, candidate: Bundle, manifest: Manifest, files: Mapping[str, bytes], frames: Frames, platform: Platform
    ) -> Comparison:
        from accident_reco.models.movies.training import assembly, gating

        rows = assembly.rows_of(frames["ratings_split"], platform.warehouse, platform.objects)
        return gating.compare(candidate, rows, manifest, files)

    def data_source(self, settings: Settings) -> str:
        from accident_reco.models.movies.data.sources import open_source

        return open_source(settings.of(MovieSettings)).data_source

    def data_problems(self, platform: Platform) -> Sequence[str]:
        from accident_reco.models.movies.training import assembly

        return assembly.data_problems(platform.warehouse)

    def data_version(self, platform: Platform) -> str:
        from accident_reco.models.movies.data import raw_store

        stored = raw_store.raw_record(platform.objects, "raw_ratings")
        return stored.sha256 if stored else ""

    def missing_data(self, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
        from accident_reco.models.movies.data import raw_store
        from accident_reco.models.movies.data.sources import open_source
        from accident_reco.models.movies.training import assembly

        settings, objects = platform.settings.of(MovieSettings), platform.objects
        source = open_source(settings)
        known = instance.get_latest_materialization_event(ingest.RATINGS) and raw_store.stored_from(objects, source)
        if known and assembly.imported(objects, platform.warehouse):
            return
        named = f" ({settings.movies_source})" if source.data_source == "directory" else ""
        yield Step("ingest_movies", f"not read from {source.data_source} data{named} yet")

    def save_inputs(self, candidate: Bundle, platform: Platform, folder: Path) -> None:
        from accident_reco.models.movies.training.inputs import save_inputs

        save_inputs(platform.objects, platform.warehouse, platform.settings.of(MovieSettings), candidate, folder)

    def restore_inputs(self, folder: Path, platform: Platform) -> None:
        from accident_reco.models.movies.training.inputs import restore_catalogue

        restore_catalogue(folder, platform.warehouse)


def _fold_table(folds: list[dict[str, float]]) -> str:
    rows = "\n".join(f"| {number} | {fold['rmse']:.4f} | {fold['mae']:.4f} |" for number, fold in enumerate(folds, 1))
    return f"| fold | RMSE | MAE |\n|---|---|---|\n{rows}"
