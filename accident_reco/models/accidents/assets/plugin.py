"""The training half of the accident model, as `accident_reco.contract.ModelTraining` describes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

import dagster as dg

from accident_reco.contract import Candidate, Check, Evaluated, Fitted, Frames, ModelTraining, Platform, Step
from accident_reco.defs.automation import build_automation_sensor
from accident_reco.defs.pools import ingest_pool, scoring_pool, unless_spread
from accident_reco.defs.steps import partitioned_executor
from accident_reco.lifecycle.bundle import CARD_FILE, Bundle, Manifest
from accident_reco.lifecycle.gate import Comparison, GatePolicy
from accident_reco.lifecycle.training_identity import DATA_VERSION, SAMPLE
from accident_reco.models.accidents.assets import ingest, scoring, sensors, training_checks, training_data
from accident_reco.models.accidents.assets.partitions import (
    find_year_ranges,
    find_years_with,
    register_years,
    registered_years,
    select_years,
)
from accident_reco.models.accidents.model import BASE, AccidentModel
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.settings import Settings

SHARED: Final = ("victims", "synthetic_victims", "training_set")
"""Assets of the base instance that the other instances read."""
EXPORT_CHECK: Final = "export_matches_trees"
TRACKED_FILES: Final = (CARD_FILE, "features.json", "decision.json", "model.onnx")


class AccidentTraining(ModelTraining):
    """Trains a random forest and gradient boosting on real and synthetic road users and chooses the better one.

    Args:
        model: the instance; its name is that of its assets and versions, its feature set that of its features.
    """

    candidates: ClassVar = {
        "boosting": Candidate(
            "boosting_model",
            "Gradient boosting, calibrated on real validation rows.",
            frozenset({"lightgbm", "onnx"}),
            code_version="2",
        ),
        "forest": Candidate(
            "forest_model",
            "Random forest, calibrated on real validation rows.",
            frozenset({"scikitlearn", "onnx"}),
            code_version="2",
        ),
    }
    prepared = ("synthetic_victims", "training_set", "features")
    fit_inputs = ("features", "training_set")
    fit_deps = ("tuned_parameters",)
    evaluate_inputs = ("training_set",)
    evaluate_deps = ("victims",)
    fit_check = (
        EXPORT_CHECK,
        "ONNX predicts as the trees within 1e-5, the same for single rows as for a batch; the bundle is small.",
    )
    reproduction_inputs = ("tuned_parameters",)

    def __init__(self, model: AccidentModel) -> None:
        self._model = model

    @property
    def shared_assets(self) -> Mapping[str, str]:
        return {} if self._model.is_base else dict.fromkeys(SHARED, BASE)

    def definitions(self, settings: Settings) -> dg.Definitions:
        model, partitioned = self._model, partitioned_executor(settings)
        sensor_settings = settings.of(AccidentSettings)
        seconds = sensor_settings.accidents_watch_seconds
        own = dg.Definitions(
            assets=[
                *training_data.build_feature_assets(model),
                scoring.build_scored_victims(model, unless_spread(scoring_pool(model.name), settings)),
            ],
            asset_checks=[*training_checks.build_feature_checks(model), scoring.build_score_check(model.name)],
            jobs=[training_data.build_tune_job(model.name), scoring.build_score_job(model.name, partitioned)],
            sensors=[
                build_automation_sensor(
                    f"{model.name}_scores",
                    [scoring.scored_key(model.name)],
                    seconds,
                    "Scores every stored year again after a promotion or a rollback, and a year after its ingestion.",
                )
            ],
        )
        if not model.is_base:
            return own
        modules = (ingest, training_data, training_checks)
        data = dg.Definitions(
            assets=[
                ingest.build_accident_years(unless_spread(ingest_pool(BASE), settings)),
                *dg.load_assets_from_modules(modules),
            ],
            asset_checks=dg.load_asset_checks_from_modules(modules),
            jobs=[ingest.build_ingest_job(partitioned), ingest.load_accidents],
            sensors=[
                sensors.build_source_sensor(sensor_settings),
                build_automation_sensor(
                    "accident_warehouse", [ingest.WAREHOUSE], seconds, "Loads ingested years into the warehouse."
                ),
            ],
        )
        return dg.Definitions.merge(data, own)

    def fit(self, kind: str, frames: Frames, platform: Platform) -> Fitted:
        from accident_reco.models.accidents.training import artefact_checks, assembly, candidate, parameters
        from accident_reco.models.accidents.training.config import TrainingConfig
        from accident_reco.models.accidents.training.training_population import (
            VICTIMS_VERSION,
            build_data_version,
        )

        settings = self._settings(platform)
        tuned, why = parameters.read_tuned_parameters(
            platform.objects, self._model.name, self.data_source(settings), settings.accidents_feature_set
        )
        training_set = frames["training_set"]
        version = build_data_version(str(training_set.attrs.get(VICTIMS_VERSION, "")), why)
        prepared = candidate.prepare(training_set, TrainingConfig.from_settings(settings))
        # The model matrix is read after the training set is gone: it is the largest frame.
        del training_set
        features = frames["features"]
        chosen = parameters.select_parameters(settings, prepared.people, tuned)[kind]
        bundle = assembly.fit_candidate(self._model.name, features, prepared, chosen, why, settings)
        bundle = replace(bundle, lineage={**bundle.lineage, DATA_VERSION: version})
        problem = artefact_checks.check_exported_model(bundle.files, artefact_checks.sample_features(features))
        metadata = {
            "parameters": dg.MetadataValue.json(bundle.lineage["parameters"]),
            **{f"validation_{name}": float(value) for name, value in bundle.metrics.items()},
        }
        return Fitted(bundle, Check(EXPORT_CHECK, problem is None, problem or "passed"), metadata)

    def evaluate(self, candidates: Mapping[str, Bundle], frames: Frames, platform: Platform) -> Evaluated:
        from accident_reco.models.accidents.training import assembly
        from accident_reco.models.accidents.training.plots import embed_markdown, plot_evaluation
        from accident_reco.models.accidents.training.tables import tabulate_evaluation
        from accident_reco.models.accidents.training.training_population import load_population

        settings = self._settings(platform)
        population = load_population(platform.objects, settings, "holdout")
        chosen, why = assembly.choose_candidate(candidates)
        done = assembly.assemble(
            chosen,
            candidates,
            frames["training_set"],
            population.victims,
            population.data_source,
            settings,
            population.sample,
        )
        parameters = candidates[chosen].lineage["parameters"]
        origin = {"data_source": population.data_source, "sources": population.sources, "parameters": parameters}
        origin[SAMPLE] = population.sample
        bundle = replace(done.bundle, lineage=origin)
        pictures = plot_evaluation(done.holdout.label, done.report)
        return Evaluated(
            bundle,
            chosen,
            why,
            params={
                f"{kind}.{name}": value for kind, one in candidates.items() for name, value in _get_parameters(one)
            },
            metrics={
                f"validation_{kind}_{name}": value
                for kind, one in candidates.items()
                for name, value in one.metrics.items()
            },
            artifacts={**{name: bundle.files[name] for name in TRACKED_FILES}, **pictures},
            tables=tabulate_evaluation(done.holdout.label, done.report),
            metadata={
                name.removesuffix(".png"): dg.MetadataValue.md(embed_markdown(picture, name))
                for name, picture in pictures.items()
            },
        )

    def gate_policy(self, settings: Settings) -> GatePolicy:
        from accident_reco.models.accidents.training import assembly

        return assembly.build_gate_policy(self._model.own_settings(settings).of(AccidentSettings))

    def compare(
        self, candidate: Bundle, manifest: Manifest, files: Mapping[str, bytes], frames: Frames, platform: Platform
    ) -> Comparison:
        from accident_reco.models.accidents.scoring.scorer import AccidentScorer
        from accident_reco.models.accidents.training.evaluation import Holdout, compare
        from accident_reco.models.accidents.training.training_population import load_population

        settings = self._settings(platform)
        ours, theirs = AccidentScorer.from_files(candidate.files), AccidentScorer.from_files(files, manifest)
        victims = load_population(platform.objects, settings, "holdout").victims
        return compare(ours, theirs, Holdout.from_victims(victims), settings.seed)

    def data_source(self, settings: Settings) -> str:
        from accident_reco.models.accidents.sources import open_source

        return open_source(settings.of(AccidentSettings)).data_source

    def data_problems(self, platform: Platform) -> Sequence[str]:
        from accident_reco.models.accidents.data.checks import find_data_problems
        from accident_reco.models.accidents.data.duplicates import find_duplicates_by_year
        from accident_reco.models.accidents.data.raw_store import load_contents, load_current_years
        from accident_reco.models.accidents.training.training_population import find_years

        used = find_years(platform.objects, platform.settings.of(AccidentSettings))
        stored = load_current_years(platform.objects, used.data_source)
        return find_data_problems(stored, used.years, find_duplicates_by_year(load_contents(platform.objects, stored)))

    def data_version(self, platform: Platform) -> str:
        from accident_reco.models.accidents.data.raw_store import load_current_years
        from accident_reco.models.accidents.training.parameters import read_tuned_parameters
        from accident_reco.models.accidents.training.training_population import build_data_version, hash_years

        settings, data_source = self._settings(platform), self.data_source(platform.settings)
        stored = load_current_years(platform.objects, data_source)
        _, why = read_tuned_parameters(platform.objects, self._model.name, data_source, settings.accidents_feature_set)
        return build_data_version(hash_years(stored), why)

    def register_partitions(self, instance: dg.DagsterInstance, platform: Platform) -> None:
        from accident_reco.models.accidents.sources import open_source

        register_years(instance, open_source(platform.settings.of(AccidentSettings)).years())

    def missing_data(self, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
        from accident_reco.models.accidents.sources import open_source

        source = open_source(platform.settings.of(AccidentSettings))
        offered = {str(year) for year in source.years()}
        absent = offered - find_years_with(instance, ingest.VICTIMS, "data_source", source.data_source)
        for first, last in find_year_ranges(absent, registered_years(instance)):
            yield Step("ingest_accidents", f"not ingested from {source.data_source} data yet", first, last)
        if absent:
            yield Step("load_accidents", "new years were ingested")

    def missing_outputs(self, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
        from accident_reco.models.accidents.sources import open_source

        offered = {str(year) for year in open_source(platform.settings.of(AccidentSettings)).years()}
        champion = platform.models.pointer(self._model.name)
        scored = find_years_with(
            instance, scoring.scored_key(self._model.name), "version", champion.version if champion else ""
        )
        for first, last in find_year_ranges(offered - scored, registered_years(instance)):
            yield Step(f"score_{self._model.name}", "not scored by the champion yet", first, last)

    def backfill_steps(self, instance: dg.DagsterInstance, first: str, last: str) -> Sequence[Step]:
        if not self._model.is_base:
            return ()
        ranges = find_year_ranges(select_years(instance, first, last), registered_years(instance))
        return (
            *(Step("ingest_accidents", "requested", start, end) for start, end in ranges),
            Step("load_accidents", "years were ingested again"),
        )

    def save_inputs(self, candidate: Bundle, platform: Platform, folder: Path) -> None:
        from accident_reco.models.accidents.training.inputs import save_inputs

        save_inputs(platform.objects, self._settings(platform), candidate, folder)

    def restored_settings(self, folder: Path) -> Mapping[str, str]:
        from accident_reco.models.accidents.training.inputs import get_source_setting

        return get_source_setting(folder)

    def _settings(self, platform: Platform) -> AccidentSettings:
        return self._model.own_settings(platform.settings).of(AccidentSettings)


def _get_parameters(candidate: Bundle) -> Iterable[tuple[str, Any]]:
    parameters: Mapping[str, Any] = candidate.lineage["parameters"]
    return parameters.items()
