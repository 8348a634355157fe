"""Scoring with one bundle, for the predict service and batch scoring: numpy and onnxruntime only.

Every row is scored by the same sequence of operations whatever the size of the batch, so its result is the same bit for
bit: one thread adds the trees of a row in their order, and calibration works on each margin separately.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.scoring.group_bounds import GroupBounds
from accident_reco.models.accidents.scoring.user_groups import count_rows

if TYPE_CHECKING:
    from accident_reco.models.accidents.scoring.advice import Advice, AdviceTable
    from accident_reco.models.accidents.scoring.communes import Communes
    from accident_reco.models.accidents.scoring.explanations import Explainer
    from accident_reco.models.accidents.scoring.factors import Explanation, Factor

# Format 1 has no bounds by group.
DECISION_FORMATS: Final = (1, 2)
# Rows per call of the runtime: bounds the memory of a large batch.
CHUNK_ROWS: Final = 8192
# Rows that are worth a thread of their own in an answer.
THREAD_ROWS: Final = 200
MAX_THREADS: Final = 4
PROBABILITY_DIGITS: Final = 6
MODEL_FILE, FEATURES_FILE, DECISION_FILE, TREES_FILE = "model.onnx", "features.json", "decision.json", "trees.npz"
ADVICE_FILE: Final = "advice.json"


@dataclass(frozen=True)
class DecisionRule:
    """From margin to probability, class and uncertainty (`decision.json`).

    Args:
        x, y: knots of the calibration curve, margin → probability of a severe injury; linear between, constant beyond.
        threshold: minimum probability of the class "severe".
        uncertain_from, uncertain_to: between these probabilities neither class can be excluded at `coverage`.
        coverage: share of each class whose true class is not excluded.
        groups: the same bounds by group of road users; None: of a version of older code, one for everybody.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    threshold: float
    uncertain_from: float
    uncertain_to: float
    coverage: float
    groups: GroupBounds | None = None

    def probability(self, margin: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probability of each margin, shape (n,), rounded to six digits as in every answer."""
        return np.round(np.interp(margin, self.x, self.y), PROBABILITY_DIGITS)

    def find_bounds(self, columns: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probabilities (from, to) between which each row of raw columns is uncertain, shape (n,) each."""
        if self.groups is not None:
            return self.groups.find_bounds(columns)
        n = count_rows(columns)
        return np.full(n, self.uncertain_from), np.full(n, self.uncertain_to)

    def to_json(self) -> bytes:
        """`decision.json`: the same bytes for the same rule."""
        document: dict[str, Any] = {
            "format": DECISION_FORMATS[0] if self.groups is None else DECISION_FORMATS[1],
            "x": self.x.tolist(),
            "y": self.y.tolist(),
            "threshold": self.threshold,
            "uncertain_from": self.uncertain_from,
            "uncertain_to": self.uncertain_to,
            "coverage": self.coverage,
        }
        if self.groups is not None:
            document["groups"] = asdict(self.groups)
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> DecisionRule:
        """The rule of a `decision.json`.

        Raises:
            ValueError: it has another format.
        """
        raw = json.loads(content)
        if raw.pop("format", None) not in DECISION_FORMATS:
            raise ValueError(f"decision.json is not of format {' or '.join(map(str, DECISION_FORMATS))}")
        groups = raw.pop("groups", None)
        x, y = np.array(raw.pop("x")), np.array(raw.pop("y"))
        return cls(x, y, **raw, groups=None if groups is None else GroupBounds(**groups))


@dataclass(frozen=True)
class Answer:
    """Per row, shape (n,): probability of being killed or hospitalised, class at the threshold, uncertainty flag."""

    probability: NDArray[np.float64]
    severe: NDArray[np.bool_]
    uncertain: NDArray[np.bool_]

    def divide(self, sizes: Sequence[int]) -> list[Answer]:
        """The answers of so many rows each, in order."""
        ends = list(accumulate(sizes))
        parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        return [Answer(self.probability[part], self.severe[part], self.uncertain[part]) for part in parts]


class AccidentScorer:
    """One version, ready to score. Thread-safe: immutable after construction."""

    def __init__(
        self,
        session: Any,
        spec: FeatureSpec,
        rule: DecisionRule,
        trees: bytes | None = None,
        advice: bytes | None = None,
    ) -> None:
        self._session = session
        self._trees = trees
        self._advice = advice
        self.spec = spec
        self.rule = rule

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], manifest: Any = None) -> AccidentScorer:
        """Scorer of a bundle's files.

        Raises:
            ValueError: the files or the signature of `manifest`, if it is passed, do not fit each other, or a
                prediction with all inputs unknown is not a probability.
        """
        spec, rule = FeatureSpec.from_json(files[FEATURES_FILE]), DecisionRule.from_json(files[DECISION_FILE])
        if manifest is not None:
            stated = [entry["name"] for entry in manifest.signature["inputs"]]
            if stated != list(spec.columns):
                raise ValueError("the manifest's signature names other inputs than features.json")
        scorer = cls(open_session(files[MODEL_FILE]), spec, rule, files.get(TREES_FILE), files.get(ADVICE_FILE))
        width = scorer._session.get_inputs()[0].shape[1]
        if width != len(spec.names):
            raise ValueError(f"model.onnx takes {width} features, features.json builds {len(spec.names)}")
        smoke = float(scorer.probability({"catu": np.array([-1])})[0])
        if not 0.0 <= smoke <= 1.0:
            raise ValueError(f"the smoke prediction is {smoke}, not a probability")
        return scorer

    @property
    def columns(self) -> tuple[str, ...]:
        """Raw input columns; each of them is optional."""
        return self.spec.columns

    @property
    def threshold(self) -> float:
        """Minimum probability of the class "severe"."""
        return self.rule.threshold

    @cached_property
    def communes(self) -> Communes:
        """Communes and departments of the training rows."""
        from accident_reco.models.accidents.scoring.communes import Communes

        return Communes(self.spec.locations)

    def margin(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Margin of the trees for each row of a feature matrix, shape (n,)."""
        if len(features) <= CHUNK_ROWS:
            return self._session.run(None, {"features": features})[0].reshape(-1)
        parts = [self.margin(features[start : start + CHUNK_ROWS]) for start in range(0, len(features), CHUNK_ROWS)]
        return np.concatenate(parts)

    def _margin_on_threads(self, features: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
        """As `margin`: each thread adds the trees of its rows in their order."""
        mine, *others = np.array_split(features, threads)
        computed = [_open_pool().submit(self.margin, part) for part in others]
        return np.concatenate([self.margin(mine), *(part.result() for part in computed)])

    def probability(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Calibrated probability of a severe injury for every row of raw columns, shape (n,)."""
        return self.rule.probability(self.margin(build_features(columns, self.spec)))

    def answer(self, columns: Mapping[str, NDArray[Any]], max_threads: int = MAX_THREADS) -> Answer:
        """Probability, class and uncertainty for every row of raw columns; of many rows on several cores."""
        features = build_features(columns, self.spec)
        threads = min(max_threads, _count_cores(), len(features) // THREAD_ROWS)
        margin = self.margin(features) if threads < 2 else self._margin_on_threads(features, threads)
        probability = self.rule.probability(margin)
        low, high = self.rule.find_bounds(columns)
        return Answer(probability, probability >= self.threshold, (probability >= low) & (probability < high))

    def explain(self, columns: Mapping[str, NDArray[Any]], max_factors: int = 5) -> list[Sequence[Factor]]:
        """The `max_factors` strongest factors of every row, strongest first; see `explain_rows`."""
        return [explanation.factors for explanation in self.explain_rows(columns, max_factors)]

    def explain_rows(self, columns: Mapping[str, NDArray[Any]], max_factors: int = 5) -> list[Explanation]:
        """The strongest factors of every row: of all fields, of the known ones and of the missing ones.

        Raises:
            ValueError: the bundle has no trees.
        """
        from accident_reco.models.accidents.scoring.factors import build_explanation

        features = build_features(columns, self.spec)
        explain = self.explainer.contributions_by_column
        return [build_explanation(explain(features[row]), columns, row, max_factors) for row in range(len(features))]

    @property
    def can_advise(self) -> bool:
        """Whether the bundle has the values of fields that advice needs; those of older code have not."""
        return self._advice is not None

    def advise(self, columns: Mapping[str, NDArray[Any]], max_fields: int = 5) -> list[list[Advice]]:
        """For every row the `max_fields` missing fields that would change its probability most if they were known.

        Raises:
            ValueError: the bundle has no advice table.
        """
        from accident_reco.models.accidents.scoring.advice import advise

        inputs, rows = self.columns, len(next(iter(columns.values())))
        return [advise(columns, row, self.advice_table, inputs, self.probability, max_fields) for row in range(rows)]

    @cached_property
    def advice_table(self) -> AdviceTable:
        """Values of fields among training people; read on first use."""
        from accident_reco.models.accidents.scoring.advice import AdviceTable

        if self._advice is None:
            raise ValueError(f"this version has no {ADVICE_FILE}, which advice needs; fix: train again")
        return AdviceTable.from_json(self._advice)

    @cached_property
    def explainer(self) -> Explainer:
        """Explainer of this version; built on first use, since most servers never explain."""
        from accident_reco.models.accidents.scoring.explanations import Explainer
        from accident_reco.models.accidents.scoring.trees import Trees

        if self._trees is None:
            raise ValueError(f"this version has no {TREES_FILE}, which explanations need")
        return Explainer(Trees.from_npz(self._trees), self.spec)


@lru_cache(maxsize=1)
def _count_cores() -> int:
    return min(MAX_THREADS, len(os.sched_getaffinity(0)))


@lru_cache(maxsize=1)
def _open_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_count_cores() - 1, thread_name_prefix="scoring")


os.register_at_fork(after_in_child=_open_pool.cache_clear)  # threads do not survive a fork


def open_session(model: bytes) -> Any:
    """An onnxruntime session of a model file, single-threaded and deterministic."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread a call: the order of additions is fixed, and a small request never waits for a thread pool.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
