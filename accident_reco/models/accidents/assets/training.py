"""Accident models: synthetic people, training set, features, two candidates in parallel, the gate, batch scores."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from accident_reco.defs.mlflow_tracking import track
from accident_reco.defs.promotion import Promotion, move_pointer
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle, Manifest, canonical_json, sha256
from accident_reco.lifecycle.gate import Comparison
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.lifecycle.lineage import lineage
from accident_reco.lifecycle.tracking import VERSION_TAG, TrackedRun
from accident_reco.models.accidents.assets.ingest import VICTIMS
from accident_reco.models.accidents.data.checks import data_problems
from accident_reco.models.accidents.data.raw_store import current_years
from accident_reco.models.accidents.scoring.scorer import CARD_FILE, FEATURES_FILE, AccidentScorer
from accident_reco.models.accidents.synthesis.sequential import Synthesizer
from accident_reco.models.accidents.training import artefact_checks, assembly, candidate
from accident_reco.models.accidents.training.evaluation import Holdout, compare, headline
from accident_reco.models.accidents.training.inputs import save_inputs
from accident_reco.models.accidents.training.plots import evaluation_pictures, markdown, trials_picture, trials_table
from accident_reco.models.accidents.training.training_population import population

GROUP = "accidents_training"
OWNERS = ["team:accidents"]
COMMON: dict[str, Any] = {"key_prefix": "accidents", "group_name": GROUP, "owners": OWNERS}


@dg.asset(
    **COMMON, deps=[VICTIMS], kinds={"scikitlearn", "lightgbm", "parquet"}, io_manager_key="frames", code_version="1",
    description="As many made-up road users as real training people, in their likeness; nobody of the holdout is seen.",
)  # fmt: skip
def synthetic_victims(context: dg.AssetExecutionContext, platform: Platform) -> pd.DataFrame:
    """Synthesize from the real people outside of the holdout."""
    settings = platform.settings
    people = population(platform.objects, settings)
    real = people.victims[~in_holdout(people.victims["Num_Acc"].to_numpy())]
    share = settings.accidents_synthetic_share
    rows = round(len(real) * share / (1 - share))
    made = Synthesizer(seed=settings.seed, jobs=settings.training_jobs).synthesize(real, rows)
    context.add_output_metadata({"data_source": people.data_source, "from_real_people": len(real)})
    return made


@dg.asset(
    **COMMON, deps=[VICTIMS], kinds={"pandas", "parquet"}, io_manager_key="frames", code_version="1",
    description="Real people outside of the holdout and synthetic ones, one for one by default.",
)  # fmt: skip
def training_set(
    context: dg.AssetExecutionContext, platform: Platform, synthetic_victims: pd.DataFrame
) -> pd.DataFrame:
    """Mix real and synthetic people."""
    settings = platform.settings
    people = population(platform.objects, settings)
    rows = candidate.training_frame(
        people.victims, synthetic_victims, settings.accidents_synthetic_share, settings.seed
    )
    grave = rows.assign(grave=rows["grav"].isin((2, 3))).groupby("synthetic")["grave"].mean()
    context.add_output_metadata({
        "data_source": people.data_source, "years": str(people.years), "synthetic_share": float(rows.synthetic.mean()),
        "grave_real": float(grave.get(False, 0)), "grave_synthetic": float(grave.get(True, 0)),
    })  # fmt: skip
    return rows


@dg.asset(
    **COMMON, kinds={"numpy", "parquet"}, io_manager_key="frames", code_version="1",
    description="What the trees see: real people, the same with gaps, and synthetic ones, with label and weight.",
)  # fmt: skip
def features(context: dg.AssetExecutionContext, platform: Platform, training_set: pd.DataFrame) -> pd.DataFrame:
    """Build the matrix with the same builder that serves."""
    table = candidate.feature_frame(training_set, assembly.recipe_of(platform.settings))
    context.add_output_metadata({
        "features": len([name for name in table if not str(name).startswith("_")]),
        "rows_by_origin": dg.MetadataValue.json({str(k): int(v) for k, v in table["_origin"].value_counts().items()}),
    })  # fmt: skip
    return table


@dg.asset(
    **COMMON, kinds={"scikitlearn", "lightgbm", "json"}, code_version="1",
    description="What a search within a budget of seconds found for both candidates, by folds of training people.",
)  # fmt: skip
def tuned_parameters(
    context: dg.AssetExecutionContext, platform: Platform, features: pd.DataFrame
) -> dg.MaterializeResult:
    """Search, and keep what was found for the trainings that follow."""
    data_source = population(platform.objects, platform.settings).data_source
    document = assembly.tune_candidates(features, data_source, platform.settings)
    platform.objects.write(assembly.TUNED, canonical_json(document))
    pictures = {f"trials_{name}": markdown(trials_picture(document[name], name), name) for name in CANDIDATES}
    return dg.MaterializeResult(
        metadata={
            "data_source": data_source, "people": document["people"],
            **{f"chosen_{name}": dg.MetadataValue.json(document[name]["chosen"]) for name in CANDIDATES},
            **{f"gain_{name}": float(document[name]["gain"]) for name in CANDIDATES},
            **{f"seconds_{name}": float(document[name]["seconds"]) for name in CANDIDATES},
            **{f"table_{name}": dg.MetadataValue.md(trials_table(document[name])) for name in CANDIDATES},
            **{name: dg.MetadataValue.md(picture) for name, picture in pictures.items()},
        }
    )  # fmt: skip


CANDIDATES: dict[str, tuple[str, set[str]]] = {
    "forest": ("Random forest, calibrated on real validation people.", {"scikitlearn", "onnx"}),
    "boosting": ("Gradient boosting, calibrated on real validation people.", {"lightgbm", "onnx"}),
}


def _candidate(name: str) -> dg.AssetsDefinition:
    description, kinds = CANDIDATES[name]
    key = dg.AssetKey(["accidents", f"{name}_model"])

    @dg.asset(
        **COMMON, name=f"{name}_model", deps=[tuned_parameters], kinds=kinds, io_manager_key="bundles",
        code_version="2", description=description,
        check_specs=[dg.AssetCheckSpec(
            "exported", asset=key, blocking=True,
            description="ONNX answers as the trees within 1e-5, alone as in a batch; the bundle is small.",
        )],
    )  # fmt: skip
    def candidate_of(
        context: dg.AssetExecutionContext, platform: Platform, features: pd.DataFrame, training_set: pd.DataFrame
    ) -> Iterator[dg.Output[Bundle] | dg.AssetCheckResult]:
        settings = platform.settings
        data_source = population(platform.objects, settings).data_source
        tuned, why = assembly.tuned_for(platform.objects, data_source, settings.accidents_feature_set)
        parameters = assembly.parameters_of(settings, int((~training_set["synthetic"]).sum()), tuned)[name]
        bundle = assembly.fit_candidate(features, training_set, parameters, why, settings)
        yield dg.Output(bundle, metadata={
            "parameters": dg.MetadataValue.json(bundle.lineage["parameters"]),
            "bytes": sum(len(content) for content in bundle.files.values()),
            **_numbers("validation", bundle.metrics),
        })  # fmt: skip
        wrong = artefact_checks.exported_model(bundle.files, artefact_checks.sample_of(features))
        yield dg.AssetCheckResult(
            check_name="exported", passed=wrong is None, severity=dg.AssetCheckSeverity.ERROR,
            description=wrong or "as it must be",
        )  # fmt: skip

    return candidate_of


forest_model, boosting_model = (_candidate(name) for name in CANDIDATES)


@dg.asset(
    **COMMON, deps=[VICTIMS], kinds={"onnx", "mlflow"}, io_manager_key="bundles", code_version="1",
    description="The better of the two on validation people, evaluated on the frozen holdout, with profile and card.",
)  # fmt: skip
def candidate_model(
    context: dg.AssetExecutionContext, platform: Platform, forest_model: Bundle, boosting_model: Bundle,
    training_set: pd.DataFrame,
) -> Bundle:  # fmt: skip
    """Choose, evaluate, complete, track."""
    settings = platform.settings
    people = population(platform.objects, settings)
    candidates = {"boosting": boosting_model, "forest": forest_model}
    chosen = assembly.best(candidates)
    made = assembly.assemble(chosen, candidates, training_set, people.victims, people.data_source, settings)
    pictures = evaluation_pictures(made.holdout.label, made.report)
    run_id = track(context, platform, _tracked(made.bundle, candidates, pictures, people.data_source))
    origin = lineage(
        data_source=people.data_source, sources=people.sources, dagster_run_id=context.run.run_id,
        mlflow_run_id=run_id, git_commit=settings.git_commit,
        parameters=candidates[chosen].lineage["parameters"],
        candidates={name: {"version": c.version, **_headline(c.metrics)} for name, c in candidates.items()},
    )  # fmt: skip
    bundle = Bundle(assembly.MODEL, made.bundle.files, made.bundle.signature, made.bundle.metrics, origin)
    context.add_output_metadata({
        "version": bundle.version, "algorithm": chosen, "data_source": people.data_source,
        "headline": headline(bundle.metrics), "mlflow_run_id": run_id or "spooled",
        **_numbers("holdout", bundle.metrics),
        **{name.removesuffix(".png"): dg.MetadataValue.md(markdown(p, name)) for name, p in pictures.items()},
        "card": dg.MetadataValue.md(bundle.files[CARD_FILE].decode()),
    })  # fmt: skip
    return bundle


@dg.asset(
    **COMMON, deps=[VICTIMS], kinds={"onnx"}, code_version="1",
    description="The version that answers: the candidate if the gate lets it, or an older one after a rollback.",
)  # fmt: skip
def production_model(
    context: dg.AssetExecutionContext, config: Promotion, platform: Platform, candidate_model: Bundle
) -> dg.MaterializeResult:
    """Move the pointer, or tell why not."""
    settings = platform.settings
    people = cache(lambda: population(platform.objects, settings))

    def problems() -> list[str]:
        # A blocking check stops its own run only; the gate asks again what the stored years are worth.
        return data_problems(current_years(platform.objects, people().data_source), people().years)

    def against(manifest: Manifest, files: Mapping[str, bytes]) -> Comparison:
        ours, theirs = AccidentScorer.from_files(candidate_model.files), AccidentScorer.from_files(files, manifest)
        return compare(ours, theirs, Holdout.of(people().victims), settings.seed)

    def fill(folder: Path) -> None:
        save_inputs(platform.objects, settings, candidate_model, folder)

    policy = assembly.gate_policy(settings)
    return move_pointer(context, platform, config, candidate_model, against, policy, fill, problems)


def _numbers(prefix: str, metrics: Mapping[str, Any]) -> dict[str, float]:
    return {f"{prefix}_{name}": float(value) for name, value in metrics.items()}


def _headline(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(metrics[name]) for name in ("roc_auc", "average_precision", "ece")}


def _tracked(
    bundle: Bundle, candidates: Mapping[str, Bundle], pictures: Mapping[str, bytes], data_source: str
) -> TrackedRun:
    params = {
        f"{name}.{key}": value for name, c in candidates.items() for key, value in c.lineage["parameters"].items()
    }
    metrics = dict(bundle.metrics) | {
        f"validation_{name}_{metric}": value for name, c in candidates.items() for metric, value in c.metrics.items()
    }
    shown = {name: bundle.files[name] for name in (CARD_FILE, FEATURES_FILE, "decision.json", "model.onnx")}
    tags = {VERSION_TAG: bundle.version, "data_source": data_source, "algorithm": str(bundle.signature["algorithm"])}
    hashes = {f"sha256.{name}": sha256(content) for name, content in bundle.files.items()}
    return TrackedRun(
        assembly.MODEL, f"{assembly.MODEL}-{bundle.version}", params, metrics, tags | hashes, {**shown, **pictures}
    )
