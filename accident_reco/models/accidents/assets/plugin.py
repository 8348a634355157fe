"""The training half of the accident model, as `accident_reco.contract.ModelTraining` describes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import dagster as dg

from accident_reco.contract import Candidate, Check, Evaluated, Fitted, Frames, ModelTraining, Platform, Step
from accident_reco.defs.steps import partitioned_executor
from accident_reco.lifecycle.bundle import CARD_FILE, Bundle, Manifest, canonical_json, sha256
from accident_reco.lifecycle.gate import Comparison, GatePolicy
from accident_reco.models.accidents.assets import ingest, scoring, sensors, training_checks, training_data
from accident_reco.models.accidents.assets.partitions import year_ranges, years_with
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.settings import Settings

EXPORTED: Final = "exported"
TRACKED_FILES: Final = (CARD_FILE, "features.json", "decision.json", "model.onnx")


class AccidentTraining(ModelTraining):
    """Real and synthetic road users → random forest and gradient boosting → the better one of the two."""

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
    fit_check = (EXPORTED, "ONNX answers as the trees within 1e-5, alone as in a batch; the bundle is small.")
    reproduction_inputs = ("tuned_parameters",)

    def definitions(self, settings: Settings) -> dg.Definitions:
        modules = (ingest, training_data, training_checks, scoring)
        partitioned = partitioned_executor(settings)
        own = settings.of(AccidentSettings)
        return dg.Definitions(
            assets=dg.load_assets_from_modules(modules),
            asset_checks=dg.load_asset_checks_from_modules(modules),
            jobs=[
                ingest.ingest_job(partitioned),
                ingest.load_accidents,
                training_data.tune_accidents,
                scoring.score_job(partitioned),
            ],
            sensors=[sensors.source_sensor(own), sensors.warehouse_sensor(own)],
        )

    def fit(self, kind: str, frames: Frames, platform: Platform) -> Fitted:
        from accident_reco.models.accidents.training import artefact_checks, assembly
        from accident_reco.models.accidents.training.training_population import population

        settings, features, training_set = (
            platform.settings.of(AccidentSettings),
            frames["features"],
            frames["training_set"],
        )
        data_source = population(platform.objects, settings).data_source
        tuned, why = assembly.tuned_for(platform.objects, data_source, settings.accidents_feature_set)
        parameters = assembly.parameters_of(settings, int((~training_set["synthetic"]).sum()), tuned)[kind]
        bundle = assembly.fit_candidate(features, training_set, parameters, why, settings)
        wrong = artefact_checks.exported_model(bundle.files, artefact_checks.sample_of(features))
        shown = {
            "parameters": dg.MetadataValue.json(bundle.lineage["parameters"]),
            **{f"validation_{name}": float(value) for name, value in bundle.metrics.items()},
        }
        return Fitted(bundle, Check(EXPORTED, wrong is None, wrong or "passed"), shown)

    def evaluate(self, candidates: Mapping[str, Bundle], frames: Frames, platform: Platform) -> Evaluated:
        from accident_reco.models.accidents.training import assembly
        from accident_reco.models.accidents.training.plots import evaluation_pictures, markdown
        from accident_reco.models.accidents.training.training_population import population

        settings = platform.settings.of(AccidentSettings)
        people = population(platform.objects, settings)
        chosen, why = assembly.choose(candidates)
        done = assembly.assemble(
            chosen, candidates, frames["training_set"], people.victims, people.data_source, settings
        )
        parameters = candidates[chosen].lineage["parameters"]
        origin = {"data_source": people.data_source, "sources": people.sources, "parameters": parameters}
        bundle = Bundle(assembly.MODEL, done.bundle.files, done.bundle.signature, done.bundle.metrics, origin)
        pictures = evaluation_pictures(done.holdout.label, done.report)
        return Evaluated(
            bundle,
            chosen,
            why,
            params={f"{kind}.{name}": value for kind, one in candidates.items() for name, value in _parameters(one)},
            metrics={
                f"validation_{kind}_{name}": value
                for kind, one in candidates.items()
                for name, value in one.metrics.items()
            },
            artifacts={**{name: bundle.files[name] for name in TRACKED_FILES}, **pictures},
            metadata={
                name.removesuffix(".png"): dg.MetadataValue.md(markdown(picture, name))
                for name, picture in pictures.items()
            },
        )

    def gate_policy(self, settings: Settings) -> GatePolicy:
        from accident_reco.models.accidents.training import assembly

        return assembly.gate_policy(settings.of(AccidentSettings))

    def compare(
        self, candidate: Bundle, manifest: Manifest, files: Mapping[str, bytes], frames: Frames, platform: Platform
    ) -> Comparison:
        from accident_reco.models.accidents.scoring.scorer import AccidentScorer
        from accident_reco.models.accidents.training.evaluation import Holdout, compare
        from accident_reco.models.accidents.training.training_population import population

        settings = platform.settings.of(AccidentSettings)
        ours, theirs = AccidentScorer.from_files(candidate.files), AccidentScorer.from_files(files, manifest)
        return compare(ours, theirs, Holdout.of(population(platform.objects, settings).victims), settings.seed)

    def data_source(self, settings: Settings) -> str:
        from accident_reco.models.accidents.sources import open_source

        return open_source(settings.of(AccidentSettings)).data_source

    def data_problems(self, platform: Platform) -> Sequence[str]:
        from accident_reco.models.accidents.data.checks import data_problems
        from accident_reco.models.accidents.data.duplicates import duplicates_by_year
        from accident_reco.models.accidents.data.raw_store import current_years, load_contents
        from accident_reco.models.accidents.training.training_population import population

        people = population(platform.objects, platform.settings.of(AccidentSettings))
        stored = current_years(platform.objects, people.data_source)
        return data_problems(stored, people.years, duplicates_by_year(load_contents(platform.objects, stored)))

    def data_version(self, platform: Platform) -> str:
        from accident_reco.models.accidents.data.raw_store import current_years

        years = current_years(platform.objects, self.data_source(platform.settings))
        return sha256(canonical_json({year: summary["victims_sha256"] for year, summary in years.items()}))

    def missing_data(self, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
        from accident_reco.models.accidents.sources import open_source

        source = open_source(platform.settings.of(AccidentSettings))
        offered = {str(year) for year in source.years()}
        absent = offered - years_with(instance, ingest.VICTIMS, "data_source", source.data_source)
        for first, last in year_ranges(absent):
            yield Step("ingest_accidents", f"not read from {source.data_source} data yet", first, last)
        if absent:
            yield Step("load_accidents", "new years were ingested")

    def missing_outputs(self, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
        from accident_reco.models.accidents.sources import open_source

        offered = {str(year) for year in open_source(platform.settings.of(AccidentSettings)).years()}
        champion = platform.models.pointer("accidents")
        scored = years_with(instance, scoring.SCORED, "version", champion.version if champion else "")
        for first, last in year_ranges(offered - scored):
            yield Step("score_accidents", "not scored by the champion yet", first, last)

    def save_inputs(self, candidate: Bundle, platform: Platform, folder: Path) -> None:
        from accident_reco.models.accidents.training.inputs import save_inputs

        save_inputs(platform.objects, platform.settings.of(AccidentSettings), candidate, folder)

    def restored_settings(self, folder: Path) -> Mapping[str, str]:
        from accident_reco.models.accidents.training.inputs import source_setting

        return source_setting(folder)


def _parameters(candidate: Bundle) -> Iterable[tuple[str, Any]]:
    parameters: Mapping[str, Any] = candidate.lineage["parameters"]
    return parameters.items()
