"""The contract of a model, member by member.

A model is a package that declares an instance of `Model` under the entry point group `accident_reco.models`. Importing
that instance must be cheap (no server, no Dagster, no training library): the two halves, `serving()` and `training()`,
import their libraries when called, so that a server never loads a training stack.

Models are found by `registry` and used by `lifecycle`, `drift`, `defs` and `serving`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, Literal, Protocol

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import dagster as dg
    import pandas as pd
    from fastapi import APIRouter
    from pydantic import BaseModel
    from sqlalchemy import Table

    from accident_reco.dashboards import Dashboard
    from accident_reco.drift.window import Labelled, Window, Windows
    from accident_reco.lifecycle.bundle import Bundle, Manifest
    from accident_reco.lifecycle.gate import Comparison, GatePolicy
    from accident_reco.lifecycle.reference import ReferenceProfile
    from accident_reco.lifecycle.store import ModelStore
    from accident_reco.lifecycle.training_history import EvaluationTable
    from accident_reco.settings import Settings
    from accident_reco.storage.objects import ObjectStore
    from accident_reco.storage.warehouse import Warehouse
    from serving.common.middleware import RouteLimits
    from serving.console.sections import ModelPages
    from serving.predict.context import Context
    from serving.predict.v2 import InferenceAdapter

TaskKind = Literal["classification", "regression", "ranking"]
"""Kind of prediction."""

DatabaseRole = Literal["auth", "services", "reader"]
"""Roles of the warehouse with rights on tables of models: the auth service, predict and drift, dashboards."""

LIVE_METRICS: Final[Mapping[TaskKind, Mapping[str, bool]]] = {
    "classification": {"roc_auc": True, "average_precision": True, "ece": False, "brier": False},
    "regression": {"rmse": False, "mae": False},
    "ranking": {"rmse": False, "mae": False},
}
"""Kind of task → metrics measured on live labels → whether higher is better."""


class Platform(Protocol):
    """Settings and opened stores, as models get them. Dagster's resource is one implementation."""

    @property
    def settings(self) -> Settings:
        """Typed settings; `settings.of(MovieSettings)` has the model's own."""

    @property
    def objects(self) -> ObjectStore:
        """The object store: raw files, frames, reports."""

    @property
    def warehouse(self) -> Warehouse:
        """The SQL database."""

    @property
    def models(self) -> ModelStore:
        """Bundles and pointers."""


# Identity


@dataclass(frozen=True)
class Task:
    """Kind of prediction and deciding metric of a model.

    Args:
        kind: chooses the metrics of live performance, those of `LIVE_METRICS`.
        metric: deciding metric of the gate, as named in the manifest: `roc_auc`, `ndcg_at_10`, `rmse`.
        higher_is_better: its direction.
        live_metric: deciding metric on live labels, one of `LIVE_METRICS`; by default `metric`.
        headline: metrics that summaries show, in order.
    """

    kind: TaskKind
    metric: str
    higher_is_better: bool
    headline: tuple[str, ...]
    live_metric: str = ""

    @property
    def live(self) -> str:
        """Deciding metric of live performance."""
        return self.live_metric or self.metric


@dataclass(frozen=True)
class Check:
    """Outcome of a check.

    Args:
        name: name of the asset check.
        passed: whether it passed.
        reason: why, in one sentence with the numbers.
        warn: a failure only warns; by default it blocks what follows.
    """

    name: str
    passed: bool
    reason: str
    warn: bool = False


# Serving half


@dataclass(frozen=True)
class Label:
    """The outcome of a prediction, as `POST /feedback/{model}` accepts it.

    Args:
        body: request body besides `prediction_id`, such as `severity: int`; its fields are stored as the label.
        outcome: a valid body → number that the score is compared with: 0 or 1 for a classification, the value for a
            regression.
        shown: a valid body → fields of the response; by default those of the body.
        stored: a valid body → further columns of the feedback table.
        answer: model of the response for the documentation; by default the body with `prediction_id` and `status`.
        summary: summary of the endpoint for the documentation.
    """

    body: type[BaseModel]
    outcome: Callable[[Any], float]
    shown: Callable[[Any], dict[str, Any]] | None = None
    stored: Callable[[Any], dict[str, Any]] | None = None
    answer: type[BaseModel] | None = None
    summary: str = "Report the outcome of a prediction"


@dataclass(frozen=True)
class ColumnText:
    """What people call a column of the reference profile.

    Args:
        title: name in words.
        values: code → its meaning; empty for numbers and texts.
    """

    title: str
    values: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NewData:
    """Data that the champion was not trained on.

    Args:
        identity: key of the data; there is one decision per identity.
        evidence: description, such as "files that the champion was not trained on: 2024".
    """

    identity: str
    evidence: str


class ModelServing(ABC):
    """Serving and monitoring of a model. Imports no training library."""

    @abstractmethod
    def load(self, files: Mapping[str, bytes], manifest: Manifest) -> Any:
        """Load a version from verified files and test it by a smoke prediction. Returns the model's own object.

        Raises:
            ValueError: the files are inconsistent, or the smoke prediction is not valid.
        """

    @abstractmethod
    def routers(self, context: Context) -> Sequence[APIRouter]:
        """HTTP endpoints of the predict service; those that answer predictions are at or below `/predict/<model>`."""

    def route_limits(self, settings: Settings) -> Mapping[str, RouteLimits]:
        """Path → limits of endpoints that differ from the default, such as file uploads."""
        return {}

    @abstractmethod
    def inference(self) -> InferenceAdapter:
        """Adapter to the Open Inference Protocol v2: tensors and prediction."""

    label: ClassVar[Label | None] = None
    """Label of a prediction; None for a model without `POST /feedback/{model}`."""

    def log_row(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Logged raw inputs by the names of the reference profile, codes as numbers."""
        return inputs

    def log_group(self, row: Mapping[str, Any]) -> str | None:
        """Key of the group of dependent rows of a row of the log; None for an independent row."""
        return None

    def windows(
        self, platform: Platform, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes]
    ) -> Windows | None:
        """The latest window of data and the one before it; None: windows of the prediction log."""
        return None

    def partition_window(
        self, platform: Platform, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes], key: int
    ) -> Window | None:
        """A stored partition (such as a year) as a window with labels; None for a model without partitions.

        Raises:
            ObjectNotFound: the partition is not stored.
        """
        return None

    def partitions(self, platform: Platform) -> Sequence[int]:
        """Stored partitions that `partition_window` has, ascending."""
        return ()

    def columns(self) -> Mapping[str, ColumnText]:
        """Column of the reference profile → its name and codes in words, for drift reports; by default its own name."""
        return {}

    def paired_predictions(
        self, platform: Platform, manifests: Sequence[Manifest], since: datetime
    ) -> tuple[Labelled, Labelled] | None:
        """Predictions of two versions for the same labels that came in after `since` (UTC), row by row.

        None: labels are those that `POST /feedback/{model}` reports for predictions. Neither version may have been
        trained on the labels.
        """
        return None

    def importances(self, files: Mapping[str, bytes]) -> Mapping[str, float]:
        """Column of the reference profile → its importance for this version's predictions, from the bundle's files.

        At least 0, on any scale; absent columns have none. By default empty: drift verdicts then count every column
        the same.
        """
        return {}

    scores_csv: ClassVar[bool] = False
    """Whether the model scores whole CSV files (`score_csv`)."""

    def score_csv(self, version: Any, source: BinaryIO) -> Iterator[bytes]:
        """Score a CSV file with a loaded version; yields the CSV of the result in chunks, in constant memory.

        Raises:
            ValueError: the header has no column of the model, or a line is too long.
        """
        raise NotImplementedError

    def new_data(self, platform: Platform, manifest: Manifest) -> NewData | str:
        """Data that the champion was not trained on, or the reason why there is none."""
        return "new data is not watched"

    def statistics(self, platform: Platform, version: Any | None) -> Mapping[str, Any]:
        """Further numbers of `GET /stats`: rows of the model's data, variety of its answers. Blocks.

        Args:
            version: the version that serves, as `load` returned it; None while there is none.
        """
        return {}


# Training half


@dataclass(frozen=True)
class Candidate:
    """A kind of trained model, with an asset of its own.

    Args:
        asset: name of the asset, such as `forest_model`.
        description: what is trained, for the asset's page.
        kinds: Dagster's kinds of the asset, such as `python`, `onnx`.
        priority: candidates of higher priority start first; the slowest should.
        code_version: another one marks the asset as outdated.
    """

    asset: str
    description: str
    kinds: frozenset[str]
    priority: int = 0
    code_version: str = "1"


@dataclass(frozen=True)
class Fitted:
    """A trained candidate.

    Args:
        bundle: files, signature, validation metrics and lineage (`data_source`, `sources`), without run ids. With
            `data_version` in the lineage, the `ModelTraining.data_version` of the rows that it was trained on, the
            retrain policy starts no training that would only repeat this one. `history`: metrics of the fit by round,
            epoch, fold or trial, which the tracker shows as charts.
        check: outcome of the check that `ModelTraining.fit_check` names.
        metadata: what the asset's page shows.
    """

    bundle: Bundle
    check: Check
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """The best candidate, evaluated on the holdout, with reference profile and model card.

    Args:
        bundle: complete files (`card.md` and `reference.json` among them), signature and holdout metrics; lineage with
            `data_source` and `sources`, without run ids.
        kind: kind of the best candidate.
        choice: why this candidate, in one sentence.
        params: parameters for MLflow.
        metrics: further metrics for MLflow, such as those of the other candidates.
        artifacts: file name → content for MLflow, besides model card and signature.
        tables: name → table for MLflow, such as metrics by slice, calibration, candidates.
        metadata: what the asset's page shows besides the metrics.
    """

    bundle: Bundle
    kind: str
    choice: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    tables: Mapping[str, EvaluationTable] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One run of a job that the pipeline starts.

    Args:
        job: name of the job.
        why: one sentence, shown with the run.
        first: first partition of the range, where the job has partitions.
        last: last partition of the range.
    """

    job: str
    why: str
    first: str | None = None
    last: str | None = None


Frames = Mapping[str, "pd.DataFrame"]
"""Name of an upstream asset → its frame, read at each access: read once, and drop what is no longer needed."""


class ModelTraining(ABC):
    """Training of a model. May import Dagster and training libraries, inside functions where they are slow to import.

    The platform defines the assets of each candidate, `candidate_model`, `production_model` and `drift_report`, their
    checks, the jobs `train_<model>` and `report_<model>_drift`, and the sensors. The model defines the assets upstream
    of these (`definitions`) and the functions that they call.
    """

    candidates: ClassVar[Mapping[str, Candidate]]
    """Kind → candidate, in order of preference where they are equal."""

    prepared: ClassVar[tuple[str, ...]]
    """Assets of the model that a training materializes first, in order, such as training rows and features."""

    fit_inputs: ClassVar[tuple[str, ...]]
    """Those of `prepared` whose frames are passed to `fit`."""

    evaluate_inputs: ClassVar[tuple[str, ...]] = ()
    """Those of `prepared` whose frames are passed to `evaluate`."""

    compare_inputs: ClassVar[tuple[str, ...]] = ()
    """Those of `prepared` whose frames are passed to `compare`."""

    fit_deps: ClassVar[tuple[str, ...]] = ()
    """Further assets of the model that `fit` reads itself."""

    evaluate_deps: ClassVar[tuple[str, ...]] = ()
    """Further assets of the model that `evaluate` and `compare` read themselves."""

    @property
    def shared_assets(self) -> Mapping[str, str]:
        """Name of an upstream asset → the model that defines it, where that is one of `Model.requires`.

        The training job materializes those of `prepared` too, so that it never trains on outdated rows.
        """
        return {}

    fit_check: ClassVar[tuple[str, str]]
    """Name and description of the blocking check of a candidate's bundle, whose outcome `fit` returns."""

    reproduction_inputs: ClassVar[tuple[str, ...]] = ()
    """Assets of the group `<model>_training` that are inputs of a reproduction; the others of the group are made again.

    `prepared` assets of another group are inputs anyway: their frames are what `save_inputs` keeps.
    """

    @abstractmethod
    def definitions(self, settings: Settings) -> dg.Definitions:
        """The model's own assets, checks, jobs and sensors: ingestion, features, batch scoring."""

    @abstractmethod
    def fit(self, kind: str, frames: Frames, platform: Platform) -> Fitted:
        """Train one candidate; deterministic for frames, settings and seed."""

    @abstractmethod
    def evaluate(self, candidates: Mapping[str, Bundle], frames: Frames, platform: Platform) -> Evaluated:
        """Choose the best candidate on training rows, evaluate it on the frozen holdout, complete its bundle."""

    @abstractmethod
    def gate_policy(self, settings: Settings) -> GatePolicy:
        """Conditions of a promotion."""

    @abstractmethod
    def compare(
        self, candidate: Bundle, manifest: Manifest, files: Mapping[str, bytes], frames: Frames, platform: Platform
    ) -> Comparison:
        """Compare the candidate with the champion (`manifest`, `files`) on the same holdout rows."""

    @abstractmethod
    def data_source(self, settings: Settings) -> str:
        """Source of the training data as configured: `sample`, `official` or `directory`."""

    def data_problems(self, platform: Platform) -> Sequence[str]:
        """Blocking checks that the stored training data fails; any rejects a candidate."""
        return ()

    def data_version(self, platform: Platform) -> str:
        """Identity of everything stored that a training would read now; empty where it is not known.

        A training starts after an ingestion that changes it.
        """
        return ""

    def register_partitions(self, instance: dg.DagsterInstance, platform: Platform) -> None:
        """Add the partitions that the source offers to Dagster's instance; called before runs of partitions start."""
        return None

    def missing_data(self, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
        """Runs that complete the data before a training, each decided after the previous one."""
        return iter(())

    def missing_outputs(self, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
        """Runs that follow a training, such as batch scores of the champion."""
        return iter(())

    def backfill_steps(self, instance: dg.DagsterInstance, first: str, last: str) -> Sequence[Step]:
        """Runs that ingest a range of partitions again, in order; empty for a model without partitions of its own.

        Raises:
            ValueError: `first` or `last` is no partition, or the range is empty.
        """
        return ()

    def save_inputs(self, candidate: Bundle, platform: Platform, folder: Path) -> None:
        """Write the exact inputs of a candidate into a folder, for `restore_inputs`.

        Raises:
            DatasetError: the stored data is no longer that of the candidate's training.
        """
        from accident_reco.lifecycle.dataset import save_frames

        save_frames(self.prepared, candidate, platform, folder)

    def restore_inputs(self, folder: Path, platform: Platform) -> None:  # noqa: B027 - by default all inputs are objects
        """Restore inputs that are not objects into an empty home; objects are already restored."""

    def restored_settings(self, folder: Path) -> Mapping[str, str]:
        """Settings by field name that refer to restored inputs."""
        return {}


# The demonstration


class DemoScenario(ABC):
    """A model in the demonstration of the closed loop: a first champion, traffic like its data, traffic with drift."""

    first: int
    """Period (year) of the first data."""

    moved: int
    """Period of the traffic with drift."""

    size: int
    """Rows of a period, by default."""

    what_moves: str
    """Description of the drift."""

    path: str
    """Path of the endpoint for predictions."""

    probe: ClassVar[Mapping[str, Any]]
    """A small valid request body, to find the version that is served."""

    weak: ClassVar[Mapping[str, Any]]
    """Settings of a training with a worse result."""

    @abstractmethod
    def settings(self, source: Path) -> dict[str, Any]:
        """Settings of the demonstration; `source` is the directory of published files."""

    @abstractmethod
    def first_jobs(self) -> Sequence[tuple[str, str | None]]:
        """Jobs of the first champion, each with its partition."""

    @abstractmethod
    def write_first(self, source: Path, size: int) -> None:
        """Publish the first period."""

    @abstractmethod
    def write_moved(self, source: Path, size: int) -> None:
        """Publish the period with drift."""

    @abstractmethod
    def is_ingested(self, settings: Settings, period: int) -> bool:
        """Whether the platform has ingested a period."""

    @abstractmethod
    def requests(self, settings: Settings, period: int, count: int, seed: int) -> Iterator[dict[str, Any]]:
        """Request bodies with `count` predictions in total, like the data of a period."""


# Files before they are ingested


@dataclass(frozen=True)
class FileReport:
    """A file of published data, inspected without ingesting it.

    Args:
        file: path below the inspected folder.
        content: what it holds, such as a table's name and its year.
        layout: how it is written: era of the format, encoding, separator.
        rows: rows that an ingestion reads; 0 for a file that cannot be read.
        rejected: reason → rows that an ingestion would quarantine.
        problem: why the file as a whole cannot be read; empty if it can.
    """

    file: str
    content: str
    layout: str = ""
    rows: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""


# The model


class Model(ABC):
    """One model of the platform: the instance that its entry point names."""

    name: str
    """Name in paths, asset keys, object keys, metrics and settings; `[a-z][a-z0-9_]*`, at most 32 characters."""

    title: str
    """Title for pages and dashboards."""

    description: ClassVar[str]
    """Prediction and inputs, in one sentence."""

    drift_question: str
    """Question that its drift report answers, in one sentence."""

    task: ClassVar[Task]
    """Kind of prediction and deciding metric."""

    settings: ClassVar[type[Settings]]
    """Subclass of `Settings` with the model's own fields, named `<model>_…`."""

    requires: tuple[str, ...] = ()
    """Names of the models whose assets this one reads; an installation must select them too."""

    access: ClassVar[Mapping[DatabaseRole, Mapping[str, str]]] = {}
    """Database role → table of the model → rights; everything else is denied."""

    overrides: Mapping[str, Any] = {}
    """Settings of this instance by field name, instead of the installation's."""

    def instance(self, name: str, overrides: Mapping[str, Any]) -> Model:
        """A model of its own under another name, with these of the model's own settings.

        Raises:
            ValueError: the model has one instance only, which is the default, or not these settings for each.
        """
        raise ValueError(f"{self.name} has one instance only; its name is {self.name}")

    def own_settings(self, settings: Settings) -> Settings:
        """The settings with those of this instance."""
        return settings.model_copy(update=dict(self.overrides)) if self.overrides else settings

    def tables(self) -> Sequence[Table]:
        """Tables of the model in the warehouse, with a comment on every column."""
        return ()

    @abstractmethod
    def serving(self) -> ModelServing:
        """The half that serves and monitors."""

    @abstractmethod
    def training(self) -> ModelTraining:
        """The half that trains."""

    def dashboards(self) -> Sequence[Dashboard]:
        """Grafana dashboards of the model, beside those that `deploy/grafana` has for all models."""
        return ()

    def console(self) -> ModelPages | None:
        """Pages of the model in the console, from a package such as its `serving/console`; by default one page.

        That page has a form by the schema of `POST /predict/<model>`, and shows the answer.
        """
        return None

    def inspect_files(self, folder: Path) -> Sequence[FileReport]:
        """What an ingestion would read from a folder of files, for `accident-reco inspect`. Stores nothing.

        Only files that the model recognises; empty where there are none.
        """
        return ()

    def check_official(self, settings: Settings) -> Iterator[Check]:
        """What its publisher answers against what this release expects, for `accident-reco official --check`.

        Each outcome as soon as it is known; needs internet access and stores nothing.
        """
        return iter(())

    def demo(self) -> DemoScenario | None:
        """The scenario of the demonstration of the closed loop, or None."""
        return None
