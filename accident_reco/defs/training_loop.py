"""Builds the training assets of a model: one asset per candidate, the best candidate, the production model, their job.

The functions that they call are the model's `contract.ModelTraining`; Dagster's side of promotion is in `promotion`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

from accident_reco.contract import Check, Evaluated, Model, ModelTraining
from accident_reco.defs.io import StoredFrames
from accident_reco.defs.links import link_tracked_run
from accident_reco.defs.mlflow_tracking import build_failure_hook, track
from accident_reco.defs.pools import training_pool
from accident_reco.defs.promotion import Promotion, move_pointer
from accident_reco.defs.resources import Platform
from accident_reco.defs.steps import FORKED_TRAINING
from accident_reco.defs.tracked_training import describe_training
from accident_reco.lifecycle.bundle import CARD_FILE, REFERENCE_FILE, Bundle, Manifest
from accident_reco.lifecycle.gate import Comparison, Evaluation, GatePolicy, decide
from accident_reco.lifecycle.lineage import lineage
from accident_reco.lifecycle.process_sampler import ProcessSampler
from accident_reco.lifecycle.reference import read_reference
from accident_reco.lifecycle.training_identity import DATA_VERSION, IDENTITY, candidate_identity
from accident_reco.registry import ContractError
from accident_reco.settings import Settings

CANDIDATE_COMPLETE = "candidate_complete"
CHAMPION_ANSWERS = "champion_answers"


def training_job(model: str) -> str:
    """Name of the job that trains a model and evaluates it at the gate."""
    return f"train_{model}"


def training_group(model: str) -> str:
    """Asset group of a model's training."""
    return f"{model}_training"


def training_definitions(model: Model) -> dg.Definitions:
    """Candidates, best candidate, production model, and the job over them and their prepared inputs."""
    training = model.training()
    assets = [
        *(_candidate_asset(model, training, kind) for kind in training.candidates),
        _candidate_model(model, training),
        _production_model(model, training),
    ]
    job = dg.define_asset_job(
        training_job(model.name),
        selection=dg.AssetSelection.assets(
            *_keys(model, training, training.prepared), *(asset.key for asset in assets)
        ),
        description=f"Train every candidate of {model.name}, evaluate the best one, promote it if the gate accepts.",
        executor_def=FORKED_TRAINING,
        hooks={build_failure_hook(model.name)},
    )
    return dg.Definitions(assets=assets, jobs=[job])


def _candidate_asset(model: Model, training: ModelTraining, kind: str) -> dg.AssetsDefinition:
    candidate = training.candidates[kind]
    key = dg.AssetKey([model.name, candidate.asset])
    check, description = training.fit_check

    @dg.asset(
        key=key,
        deps=_keys(model, training, (*training.fit_inputs, *training.fit_deps)),
        group_name=training_group(model.name),
        kinds=set(candidate.kinds),
        description=candidate.description,
        code_version=candidate.code_version,
        io_manager_key="bundles",
        pool=training_pool(model.name),
        # The slowest starts first, so that it does not run alone at the end.
        op_tags={"dagster/priority": str(candidate.priority)},
        check_specs=[dg.AssetCheckSpec(check, asset=key, blocking=True, description=description)],
    )
    def candidate_bundle(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.Output[Bundle] | dg.AssetCheckResult]:
        with ProcessSampler() as sampler:
            fitted = training.fit(kind, _frames(model, training, training.fit_inputs, platform), platform)
        bundle = replace(fitted.bundle, history={**fitted.bundle.history, **sampler.history})
        size = sum(len(content) for content in fitted.bundle.files.values())
        yield dg.Output(bundle, metadata={**fitted.metadata, "bytes": size})
        yield check_result(fitted.check)

    return candidate_bundle


def _candidate_model(model: Model, training: ModelTraining) -> dg.AssetsDefinition:
    key = dg.AssetKey([model.name, "candidate_model"])
    bundles = {candidate.asset: kind for kind, candidate in training.candidates.items()}

    @dg.asset(
        key=key,
        ins=_inputs(model, training, tuple(bundles)),
        deps=_keys(model, training, (*training.evaluate_inputs, *training.evaluate_deps)),
        group_name=training_group(model.name),
        kinds={*_shared_kinds(training), "mlflow"},
        description="Best candidate, evaluated on the frozen holdout, with reference profile and model card.",
        code_version="1",
        io_manager_key="bundles",
        pool=training_pool(model.name),
        check_specs=[
            dg.AssetCheckSpec(
                CANDIDATE_COMPLETE,
                asset=key,
                blocking=True,
                description="The bundle loads and predicts; a warning if it is below the gate's floor.",
            )
        ],
    )
    def candidate_model(
        context: dg.AssetExecutionContext, platform: Platform, **inputs: Any
    ) -> Iterator[dg.Output[Bundle] | dg.AssetCheckResult]:
        candidates = {kind: inputs[asset] for asset, kind in bundles.items()}
        evaluated = training.evaluate(
            candidates, _frames(model, training, training.evaluate_inputs, platform), platform
        )
        mlflow_run_id = track(context, platform, describe_training(model, evaluated, candidates, context.run.job_name))
        bundle = _with_origin(model, evaluated, candidates, context.run.run_id, mlflow_run_id, platform)
        yield dg.Output(bundle, metadata=_metadata(model, bundle, evaluated, mlflow_run_id, platform.settings))
        yield check_result(candidate_complete(model, bundle, platform))

    return candidate_model


def _production_model(model: Model, training: ModelTraining) -> dg.AssetsDefinition:
    key = dg.AssetKey([model.name, "production_model"])

    @dg.asset(
        key=key,
        ins=_inputs(model, training, ("candidate_model",)),
        deps=_keys(model, training, (*training.compare_inputs, *training.evaluate_deps)),
        group_name=training_group(model.name),
        kinds=_shared_kinds(training),
        description="Production version: the candidate if the gate promotes it, an older one after a rollback.",
        code_version="1",
        pool=training_pool(model.name),
        check_specs=[
            dg.AssetCheckSpec(
                CHAMPION_ANSWERS,
                asset=key,
                blocking=True,
                description="The version that the pointer names loads and predicts.",
            )
        ],
    )
    def production_model(
        context: dg.AssetExecutionContext,
        config: Promotion,
        platform: Platform,
        candidate_model: Bundle,
    ) -> dg.MaterializeResult:
        def compare(manifest: Manifest, files: Mapping[str, bytes]) -> Comparison:
            frames = _frames(model, training, training.compare_inputs, platform)
            return training.compare(candidate_model, manifest, files, frames, platform)

        def write_inputs(folder: Path) -> None:
            training.save_inputs(candidate_model, platform, folder)

        # A blocking check stops only its own run; the gate checks the data that is stored now.
        problems = cache(lambda: training.data_problems(platform))
        policy = gate_policy(model, platform.settings)
        result = move_pointer(context, platform, config, candidate_model, compare, policy, write_inputs, problems)
        return result._replace(check_results=[check_result(_champion_answers(model, platform))])

    return production_model


def check_result(check: Check) -> dg.AssetCheckResult:
    """A check's outcome as Dagster's result; severity WARN or ERROR."""
    severity = dg.AssetCheckSeverity.WARN if check.warn else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(passed=check.passed, check_name=check.name, severity=severity, description=check.reason)


def candidate_complete(model: Model, bundle: Bundle, platform: Platform) -> Check:
    """Whether a candidate loads, predicts and has a reference profile and a model card.

    Below the gate's floor the check only warns: the gate rejects the candidate and records why.
    """
    model.serving().load(bundle.files, bundle.manifest(""))
    read_reference(bundle.files[REFERENCE_FILE])
    if not bundle.files[CARD_FILE]:
        return Check(CANDIDATE_COMPLETE, False, "the model card is empty")
    policy = gate_policy(model, platform.settings)
    decision = decide(Evaluation(bundle.version, bundle.metrics), None, None, policy)
    return Check(CANDIDATE_COMPLETE, decision.promote, decision.reason, warn=True)


def gate_policy(model: Model, settings: Settings) -> GatePolicy:
    """The model's policy.

    Raises:
        ContractError: it decides by another metric, or in another direction, than the model's task.
    """
    policy, task = model.training().gate_policy(settings), model.task
    if (policy.metric, policy.higher_is_better) != (task.metric, task.higher_is_better):
        raise ContractError(
            f"the gate policy of {model.name} decides by {policy.metric}, higher is better: {policy.higher_is_better}; "
            f"its task by {task.metric}, {task.higher_is_better}"
        )
    return policy


def _champion_answers(model: Model, platform: Platform) -> Check:
    champion = platform.models.champion(model.name)
    if champion is None:
        return Check(CHAMPION_ANSWERS, False, "no version was promoted yet: the gate rejected the first candidate")
    manifest = champion[1]
    model.serving().load(platform.models.files(manifest), manifest)
    return Check(CHAMPION_ANSWERS, True, f"{manifest.version} loads and predicts")


def _with_origin(
    model: Model,
    evaluated: Evaluated,
    candidates: Mapping[str, Bundle],
    run_id: str,
    mlflow_run_id: str | None,
    platform: Platform,
) -> Bundle:
    """The evaluated bundle with runs, commit and competing candidates in its lineage."""
    competitors = {kind: {"version": one.version, **_headline(model, one.metrics)} for kind, one in candidates.items()}
    data_versions = [str(one.lineage.get(DATA_VERSION, "")) for one in candidates.values()]
    identity = candidate_identity(model, data_versions, platform.settings)
    known: dict[str, Any] = {} if identity is None else {IDENTITY: identity}
    origin = lineage(
        **evaluated.bundle.lineage,
        dagster_run_id=run_id,
        mlflow_run_id=mlflow_run_id,
        git_commit=platform.settings.git_commit,
        choice=evaluated.choice,
        candidates=competitors,
        **known,
    )
    return replace(evaluated.bundle, lineage=origin)


def _metadata(
    model: Model, bundle: Bundle, evaluated: Evaluated, mlflow_run_id: str | None, settings: Settings
) -> dict[str, Any]:
    headline = "  ".join(f"{name} {value:.3f}" for name, value in _headline(model, bundle.metrics).items())
    return {
        "version": bundle.version,
        "kind": evaluated.kind,
        "choice": evaluated.choice,
        "headline": headline,
        "data_source": str(bundle.lineage["data_source"]),
        "mlflow_run_id": mlflow_run_id or "spooled",
        **link_tracked_run(settings, mlflow_run_id),
        **{name: float(value) for name, value in bundle.metrics.items()},
        **evaluated.metadata,
        "card": dg.MetadataValue.md(bundle.files[CARD_FILE].decode()),
    }


def _headline(model: Model, metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(metrics[name]) for name in model.task.headline if name in metrics}


def _shared_kinds(training: ModelTraining) -> set[str]:
    """Kinds that all candidates share, such as `onnx`."""
    return set(frozenset.intersection(*(candidate.kinds for candidate in training.candidates.values())))


def _keys(model: Model, training: ModelTraining, names: Iterable[str]) -> list[dg.AssetKey]:
    return [dg.AssetKey([training.shared_assets.get(name, model.name), name]) for name in names]


def _inputs(model: Model, training: ModelTraining, names: Sequence[str]) -> dict[str, dg.AssetIn]:
    return {name: dg.AssetIn(key=key) for name, key in zip(names, _keys(model, training, names), strict=True)}


def _frames(model: Model, training: ModelTraining, names: Sequence[str], platform: Platform) -> StoredFrames:
    return StoredFrames(platform.objects, dict(zip(names, _keys(model, training, names), strict=True)))
