"""The training half of the movie model, as `accident_reco.contract.ModelTraining` describes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import dagster as dg

from accident_reco.contract import Candidate, Check, Evaluated, Fitted, Frames, ModelTraining, Platform, Step
from accident_reco.lifecycle.bundle import CARD_FILE, Bundle, Manifest
from accident_reco.lifecycle.gate import Comparison, GatePolicy
from accident_reco.lifecycle.training_identity import DATA_VERSION, SAMPLE
from accident_reco.models.movies.assets import ingest, sensors, split
from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.candidates.item_weights import MAX_PRUNING_LOSS
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.settings import Settings

MAX_DIFFERENCE: Final = 1e-6
"""Largest accepted difference in stars between the bundle's scores and the training library's own."""
PARITY_CHECK: Final = "scores_as_trained"
EVALUATED: Final = "3-fold cross-validated (one fold above 5 million ratings), evaluated on the holdout."


class MovieTraining(ModelTraining):
    """The candidates of the table on the same rows; a version is the best by NDCG@10 and the best by RMSE of them."""

    candidates: ClassVar = {
        one.kind: Candidate(one.asset, f"{one.description} {EVALUATED}", frozenset({"python", "numpy"}), one.priority)
        for one in CANDIDATES.values()
    }
    prepared = ("ratings_split",)
    fit_inputs = ("ratings_split",)
    evaluate_inputs = ("ratings_split",)
    compare_inputs = ("ratings_split",)
    fit_check = (
        PARITY_CHECK,
        "Stars equal the training library's within 1e-6; pruned weights lose at most 0.002 NDCG@10.",
    )
    reproduction_inputs = ("ratings_split",)

    def definitions(self, settings: Settings) -> dg.Definitions:
        modules = (ingest, split)
        return dg.Definitions(
            assets=dg.load_assets_from_modules(modules),
            asset_checks=dg.load_asset_checks_from_modules(modules),
            jobs=[ingest.ingest_movies],
            sensors=[sensors.build_source_sensor(settings.of(MovieSettings))],
        )

    def fit(self, kind: str, frames: Frames, platform: Platform) -> Fitted:
        from accident_reco.models.movies.data.staged_ratings import stage_ratings
        from accident_reco.models.movies.training import candidate_training, loading

        frame = frames["ratings_split"]
        until, sample = int(frame.attrs["received_until"]), frame.attrs.get("sample")
        rows = loading.load_rows(frame, platform.warehouse, platform.objects)
        del frame  # with it the columns that the rows do not share are freed: a third of a gigabyte of 33 million
        data_source, sources = loading.load_sources(platform.objects)
        origin = {
            "data_source": data_source,
            "sources": sources,
            "ratings_received_until": until,
            DATA_VERSION: loading.build_data_version(platform.objects, until),
            SAMPLE: sample,
        }
        stage = partial(stage_ratings, platform.objects, platform.warehouse, until)
        options = loading.build_options(platform.settings.of(MovieSettings), stage)
        fitted = candidate_training.train_candidate(kind, rows, options, origin)
        check = check_parity(fitted.parity, fitted.pruning_loss)
        metadata = {
            "headline": loading.build_headline(fitted.bundle.metrics),
            **{metric: float(value) for metric, value in fitted.bundle.metrics.items()},
            "fit_seconds": round(fitted.fit_seconds, 3),
            "folds": dg.MetadataValue.md(_build_fold_table(fitted.folds)),
            "sample": dg.MetadataValue.json(fitted.bundle.lineage[SAMPLE] or {}),
            "data_source": data_source,
        }
        return Fitted(fitted.bundle, check, metadata)

    def evaluate(self, candidates: Mapping[str, Bundle], frames: Frames, platform: Platform) -> Evaluated:
        from accident_reco.models.movies.training import candidate_training, loading
        from accident_reco.models.movies.training.audience import tabulate_audience
        from accident_reco.models.movies.training.choice import ChoiceRule

        settings = platform.settings.of(MovieSettings)
        rows = loading.load_rows(frames["ratings_split"], platform.warehouse, platform.objects)
        options = loading.build_options(settings)
        bundle, choice = candidate_training.complete_best(candidates, ChoiceRule(), rows, options)
        return Evaluated(
            bundle,
            choice.kind,
            choice.reason,
            params={
                **bundle.signature["options"],
                **bundle.signature["trained_on"],
                "kind": choice.kind,
                "ranking_head": choice.ranking,
                "stars_head": choice.stars,
            },
            metrics={
                f"{kind}_{name}": value for kind, one in candidates.items() for name, value in one.metrics.items()
            },
            tables={"audience": tabulate_audience(bundle.metrics)},
            metadata={"ranking_head": choice.ranking, "stars_head": choice.stars},
            artifacts={
                CARD_FILE: bundle.files[CARD_FILE],
                "signature.json": json.dumps(bundle.signature, indent=1).encode(),
                "arrays.npz": bundle.files["arrays.npz"],
            },
        )

    def gate_policy(self, settings: Settings) -> GatePolicy:
        from accident_reco.models.movies.training import loading

        return loading.build_gate_policy(settings.of(MovieSettings))

    def compare(
        self, candidate: Bundle, manifest: Manifest, files: Mapping[str, bytes], frames: Frames, platform: Platform
    ) -> Comparison:
        from accident_reco.models.movies.training import gating, loading

        rows = loading.load_rows(frames["ratings_split"], platform.warehouse, platform.objects)
        return gating.compare(candidate, rows, manifest, files)

    def data_source(self, settings: Settings) -> str:
        from accident_reco.models.movies.data.sources import open_source

        return open_source(settings.of(MovieSettings)).data_source

    def data_problems(self, platform: Platform) -> Sequence[str]:
        from accident_reco.models.movies.training import loading

        return loading.find_data_problems(platform.warehouse)

    def data_version(self, platform: Platform) -> str:
        from accident_reco.models.movies.data.queries import read_newest_received
        from accident_reco.models.movies.training import loading

        return loading.build_data_version(platform.objects, read_newest_received(platform.warehouse))

    def missing_data(self, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
        from accident_reco.models.movies.data import raw_store
        from accident_reco.models.movies.data.sources import open_source
        from accident_reco.models.movies.training import loading

        settings, objects = platform.settings.of(MovieSettings), platform.objects
        source = open_source(settings)
        is_current = instance.get_latest_materialization_event(ingest.RATINGS) and raw_store.is_from_source(
            objects, source
        )
        if is_current and loading.is_imported(objects, platform.warehouse):
            return
        if source.data_source == "directory":
            source.compute_fingerprint()  # raises SourceError where it does not hold the files: no run is needed for it
        named = f" ({settings.movies_source})" if source.data_source == "directory" else ""
        yield Step("ingest_movies", f"not read from {source.data_source} data{named} yet")

    def save_inputs(self, candidate: Bundle, platform: Platform, folder: Path) -> None:
        from accident_reco.models.movies.training.reproduction import save_inputs

        save_inputs(platform.objects, platform.warehouse, platform.settings.of(MovieSettings), candidate, folder)

    def restore_inputs(self, folder: Path, platform: Platform) -> None:
        from accident_reco.models.movies.training.reproduction import restore_catalogue

        restore_catalogue(folder, platform.warehouse)


def check_parity(difference: float | None, pruning_loss: float | None) -> Check:
    """Whether a bundle scores as its fit did. Too high a loss by pruning, which has noise, only warns.

    Args:
        difference: largest difference to the training library, in stars; None: nothing to compare.
        pruning_loss: NDCG@10 lost by the weights that were left out; None: none was left out.
    """
    found = []
    if difference is not None:
        found.append(f"largest difference to the training library {difference:.1e} stars")
    if pruning_loss is not None:
        found.append(f"pruning costs {pruning_loss:.4f} NDCG@10")
    equal = difference is None or difference <= MAX_DIFFERENCE
    passed = equal and (pruning_loss is None or pruning_loss <= MAX_PRUNING_LOSS)
    return Check(PARITY_CHECK, passed, "; ".join(found) or "the library's factors are used unchanged", warn=equal)


def _build_fold_table(folds: list[dict[str, float]]) -> str:
    rows = "\n".join(f"| {number} | {fold['rmse']:.4f} | {fold['mae']:.4f} |" for number, fold in enumerate(folds, 1))
    return f"| fold | RMSE | MAE |\n|---|---|---|\n{rows}"
