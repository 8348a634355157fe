"""What a model is: everything the platform asks of it, member by member.

A model is a package that declares one instance of `Model` under the entry point group `accident_reco.models`. Importing
that instance must be cheap (no server, no Dagster, no training library): the two halves, `serving()` and `training()`,
import what they need when they are called, so that a server never loads a training stack.

Does not hold how models are found (`registry`) nor what is done with them (`lifecycle`, `drift`, `defs`, `serving`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import dagster as dg
    import pandas as pd
    from fastapi import APIRouter
    from pydantic import BaseModel
    from sqlalchemy import Table

    from accident_reco.dashboards import Dashboard
    from accident_reco.drift.window import Window, Windows
    from accident_reco.lifecycle.bundle import Bundle, Manifest
    from accident_reco.lifecycle.gate import Comparison, GatePolicy
    from accident_reco.lifecycle.reference import ReferenceProfile
    from accident_reco.lifecycle.store import ModelStore
    from accident_reco.settings import Settings
    from accident_reco.storage.objects import ObjectStore
    from accident_reco.storage.warehouse import Warehouse
    from serving.common.envelope import RouteLimits
    from serving.predict.context import Context
    from serving.predict.v2 import InferenceAdapter

TaskKind = Literal["classification", "regression", "ranking"]
DatabaseRole = Literal["auth", "services", "reader"]


class Platform(Protocol):
    """What a model gets from the platform: settings and the opened stores. Dagster's resource is one of these."""

    @property
    def settings(self) -> Settings: ...
    @property
    def objects(self) -> ObjectStore: ...
    @property
    def warehouse(self) -> Warehouse: ...
    @property
    def models(self) -> ModelStore: ...


# Identity


@dataclass(frozen=True)
class Task:
    """What kind of prediction a model makes, and which metric decides.

    Args:
        kind: chooses the metrics of live performance: classification (ROC AUC, average precision, ECE, Brier score),
            regression and ranking (RMSE, MAE on the labels that came back).
        metric: deciding metric of the gate, as named in the manifest: `roc_auc`, `ndcg_at_10`, `rmse`.
        higher_is_better: its direction.
        live_metric: deciding metric on live labels; by default `metric`.
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
    """Outcome of a check: whether it passed and, in words, why; `warn` only warns."""

    name: str
    passed: bool
    reason: str
    warn: bool = False


# Serving half


@dataclass(frozen=True)
class Label:
    """What turned out to be true about a prediction, as `POST /feedback/{model}` accepts it.

    Args:
        body: request body besides `prediction_id`, such as `severity: int`; its fields are kept as the label.
        outcome: a valid body → the number that live performance compares the score with: 0 or 1 for a classification,
            the value for a regression.
        shown: a valid body → fields of the answer; by default those of the body.
        stored: a valid body → further columns of the feedback table, for readers that know them.
        answer: shape of the answer in the documentation; by default the body with `prediction_id` and `status`.
        summary: one line for the documentation.
    """

    body: type[BaseModel]
    outcome: Callable[[Any], float]
    shown: Callable[[Any], dict[str, Any]] | None = None
    stored: Callable[[Any], dict[str, Any]] | None = None
    answer: type[BaseModel] | None = None
    summary: str = "Report the outcome of a prediction"


@dataclass(frozen=True)
class NewData:
    """Data that the champion has not been trained on.

    Args:
        identity: the same for the same data; a decision is made once per identity.
        evidence: one sentence, such as "files that the champion has not seen: 2024".
    """

    identity: str
    evidence: str


class ModelServing(ABC):
    """What serves and monitors a model. Imports no training library."""

    @abstractmethod
    def load(self, files: Mapping[str, bytes], manifest: Manifest) -> Any:
        """A version that is ready to answer, from verified files; it has made a smoke prediction.

        Raises:
            ValueError: the files do not fit each other, or the smoke prediction is no valid answer.
        """

    @abstractmethod
    def routers(self, context: Context) -> Sequence[APIRouter]:
        """HTTP endpoints of the predict service, such as `POST /predict/accidents`."""

    def route_limits(self, settings: Settings) -> Mapping[str, RouteLimits]:
        """Path → limits of endpoints that take more than others, such as file uploads."""
        return {}

    @abstractmethod
    def inference(self) -> InferenceAdapter:
        """The model over the Open Inference Protocol v2: its tensors and how to answer with them."""

    label: ClassVar[Label | None] = None
    """What a label of a prediction looks like; None where feedback comes in another way (ratings)."""

    def log_row(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Logged raw inputs as the reference profile names them, codes as numbers."""
        return inputs

    def log_group(self, row: Mapping[str, Any]) -> str | None:
        """Key of the dependent rows that a row of the log belongs to, such as an accident; None: it stands alone."""
        return None

    def windows(
        self, platform: Platform, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes]
    ) -> Windows | None:
        """The latest window of data and the one before it; None: the prediction log is the data."""
        return None

    def partition_window(
        self, platform: Platform, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes], key: int
    ) -> Window | None:
        """A stored partition (a year) as a window, labels included; None where the model has no partitions.

        Raises:
            ObjectNotFound: the partition is not stored.
        """
        return None

    def new_data(self, platform: Platform, manifest: Manifest) -> NewData | str:
        """Data that the champion has not seen, or one sentence why there is none."""
        return "new data is not watched"


# Training half


@dataclass(frozen=True)
class Candidate:
    """One way to train the model: an entry in its table becomes an asset.

    Args:
        asset: name of the asset, such as `forest_model`.
        priority: candidates of higher priority start first; the slowest should.
    """

    asset: str
    description: str
    kinds: frozenset[str]
    priority: int = 0
    code_version: str = "1"


@dataclass(frozen=True)
class Fitted:
    """A trained candidate with what the asset's page shows and the outcome of its blocking check."""

    bundle: Bundle
    check: Check
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """The best candidate, evaluated on the holdout, with reference profile and model card.

    Args:
        bundle: complete files, signature and holdout metrics; lineage without run ids.
        choice: why this candidate, in one sentence.
        params: parameters for MLflow.
        metrics: further metrics for MLflow, such as those of the other candidates.
        artifacts: file name → content for MLflow, besides the bundle's own `tracked` files.
        metadata: what the asset's page shows besides the metrics.
    """

    bundle: Bundle
    kind: str
    choice: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One run of a job that the pipeline starts; a range of partitions where the job has them.

    Args:
        why: one sentence, shown with the run.
    """

    job: str
    why: str
    first: str | None = None
    last: str | None = None


Frames = Mapping[str, "pd.DataFrame"]
"""Name of an upstream asset → its frame."""


class ModelTraining(ABC):
    """What trains a model. May import Dagster and training libraries, inside of functions where they are heavy.

    The platform makes the assets of each candidate, `candidate_model`, `production_model` and `drift_report`, their
    checks, the jobs `train_<model>` and `report_<model>_drift`, and the sensors. The model brings the assets before
    these (`definitions`) and the functions that they call.
    """

    candidates: ClassVar[Mapping[str, Candidate]]
    """Kind → candidate, in the order of preference between equals."""

    prepared: ClassVar[tuple[str, ...]]
    """Assets of the model that a training materializes first, in order: training rows, features."""

    fit_inputs: ClassVar[tuple[str, ...]]
    """Of `prepared`, those whose frames `fit` gets."""

    evaluate_inputs: ClassVar[tuple[str, ...]] = ()
    """Of `prepared`, those whose frames `evaluate` gets."""

    compare_inputs: ClassVar[tuple[str, ...]] = ()
    """Of `prepared`, those whose frames `compare` gets."""

    fit_deps: ClassVar[tuple[str, ...]] = ()
    """Further assets of the model that `fit` reads by itself."""

    evaluate_deps: ClassVar[tuple[str, ...]] = ()
    """Further assets of the model that `evaluate` and `compare` read by themselves."""

    fit_check: ClassVar[tuple[str, str]]
    """Name and description of the blocking check of a candidate's bundle, whose outcome `fit` returns."""

    reproduction_inputs: ClassVar[tuple[str, ...]] = ()
    """Of `prepared` and the deps, those that are inputs of a reproduction and are not made again."""

    @abstractmethod
    def definitions(self, settings: Settings) -> dg.Definitions:
        """The model's own assets, checks, jobs and sensors: ingestion, features, batch scoring."""

    @abstractmethod
    def fit(self, kind: str, frames: Frames, platform: Platform) -> Fitted:
        """Train one candidate. The same frames, settings and seed give the same version."""

    @abstractmethod
    def evaluate(self, candidates: Mapping[str, Bundle], frames: Frames, platform: Platform) -> Evaluated:
        """Choose the best candidate on training rows, evaluate it on the frozen holdout, complete its bundle."""

    @abstractmethod
    def gate_policy(self, settings: Settings) -> GatePolicy:
        """What a candidate must reach to be promoted."""

    @abstractmethod
    def compare(
        self, candidate: Bundle, manifest: Manifest, files: Mapping[str, bytes], frames: Frames, platform: Platform
    ) -> Comparison:
        """The candidate against the champion (`manifest`, `files`) on the same holdout rows."""

    @abstractmethod
    def data_source(self, settings: Settings) -> str:
        """Where the training data comes from as configured: `sample`, `official` or `directory`."""

    def data_problems(self, platform: Platform) -> Sequence[str]:
        """Blocking checks that the stored training data fails now; each of them rejects a candidate."""
        return ()

    def data_version(self, platform: Platform) -> str:
        """Identity of the stored training data: a training follows when an ingestion has changed it."""
        return ""

    def missing_data(self, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
        """What to run before a training so that the data is complete; decided step by step."""
        return iter(())

    def missing_outputs(self, instance: dg.DagsterInstance, platform: Platform) -> Iterator[Step]:
        """What to run after a training so that everything follows the champion, such as batch scores."""
        return iter(())

    def save_inputs(self, candidate: Bundle, platform: Platform, folder: Path) -> None:
        """Write the exact inputs of a candidate into a folder, for `restore_inputs`.

        Raises:
            DatasetError: what is stored is no longer what the candidate was trained on.
        """
        from accident_reco.lifecycle.dataset import save_frames

        save_frames(self.prepared, candidate, platform, folder)

    def restore_inputs(self, folder: Path, platform: Platform) -> None:  # noqa: B027 - nothing to do by default
        """Bring inputs that are not objects back into an empty home; objects are there already."""

    def restored_settings(self, folder: Path) -> Mapping[str, str]:
        """Settings by field name under which restored inputs are found."""
        return {}


# The demonstration


class DemoScenario(ABC):
    """A model in the demonstration of the closed loop: a first champion, traffic like its data, traffic that moved."""

    first: int
    """Period (year) of the first data."""

    moved: int
    """Period whose traffic has moved."""

    size: int
    """Rows of a period, by default."""

    what_moves: str
    """What is different in the moved period, in words."""

    path: str
    """Endpoint that answers predictions."""

    probe: ClassVar[Mapping[str, Any]]
    """A small valid request body, to see which version answers."""

    weak: ClassVar[Mapping[str, Any]]
    """Settings under which a training makes a worse model."""

    @abstractmethod
    def settings(self, source: Path) -> dict[str, Any]:
        """Settings of the demonstration; published files appear in `source`."""

    @abstractmethod
    def first_jobs(self) -> Sequence[tuple[str, str | None]]:
        """Jobs that make the first champion, each with its partition."""

    @abstractmethod
    def write_first(self, source: Path, size: int) -> None:
        """Publish the first period."""

    @abstractmethod
    def write_moved(self, source: Path, size: int) -> None:
        """Publish the moved period."""

    @abstractmethod
    def is_ingested(self, settings: Settings, period: int) -> bool:
        """Whether the platform has ingested a period."""

    @abstractmethod
    def requests(self, settings: Settings, period: int, count: int, seed: int) -> Iterator[dict[str, Any]]:
        """Bodies of requests with `count` predictions together, like the data of a period."""


# The model


class Model(ABC):
    """One model of the platform. The instance that the entry point names is all that others know of it."""

    name: ClassVar[str]
    """Name in paths, asset keys, object keys, metrics and settings: `accidents`. Lower case, [a-z][a-z0-9_]*."""

    title: ClassVar[str]
    """What it is, for pages and dashboards: "Severity of road accidents"."""

    description: ClassVar[str]
    """What it predicts from what, in one sentence."""

    drift_question: ClassVar[str]
    """What its drift report answers, in one sentence."""

    task: ClassVar[Task]
    """Kind of prediction and deciding metric."""

    settings: ClassVar[type[Settings]]
    """Subclass of `Settings` with the model's own fields, named `<model>_…`."""

    access: ClassVar[Mapping[DatabaseRole, Mapping[str, str]]] = {}
    """Database role → table of the model → rights; what is not named is refused."""

    @property
    def owner(self) -> str:
        """Owner of its assets in Dagster."""
        return f"team:{self.name}"

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

    def demo(self) -> DemoScenario | None:
        """The scenario of the demonstration of the closed loop, or None."""
        return None
