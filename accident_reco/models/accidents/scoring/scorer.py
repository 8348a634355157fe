"""Answers with one bundle: numpy and onnxruntime only. Used by the predict service and by batch scoring alike.

Every row is scored by the same sequence of operations whatever the size of the batch, so one record and a million give
the same bits: a single thread adds the trees in their order, and calibration works on each margin alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import FeatureSpec, build_features

if TYPE_CHECKING:
    from accident_reco.models.accidents.scoring.explanations import Explainer
    from accident_reco.models.accidents.scoring.factors import Factor

DECISION_FORMAT: Final = 1
# Rows per call of the runtime: bounds the memory of a large batch.
CHUNK: Final = 8192
DIGITS: Final = 6
MODEL_FILE, FEATURES_FILE, DECISION_FILE, TREES_FILE = "model.onnx", "features.json", "decision.json", "trees.npz"


@dataclass(frozen=True)
class Rule:
    """What turns a margin into an answer (`decision.json`).

    Args:
        x, y: knots of the calibration curve, margin → probability of a grave injury; linear between, constant beyond.
        threshold: from this probability on, the class is grave.
        uncertain_from, uncertain_to: between these, neither class can be excluded at the stated coverage.
        coverage: share of people of either class whose true class is not excluded.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    threshold: float
    uncertain_from: float
    uncertain_to: float
    coverage: float

    def probability(self, margin: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probability of each margin, shape (n,), to six digits: everybody is told the same number."""
        return np.round(np.interp(margin, self.x, self.y), DIGITS)

    def to_json(self) -> bytes:
        """`decision.json`: the same bytes for the same rule."""
        document = {
            "format": DECISION_FORMAT, "x": self.x.tolist(), "y": self.y.tolist(), "threshold": self.threshold,
            "uncertain_from": self.uncertain_from, "uncertain_to": self.uncertain_to, "coverage": self.coverage,
        }  # fmt: skip
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Rule:
        """Read `decision.json`. Raises ValueError for another format."""
        raw = json.loads(content)
        if raw.pop("format", None) != DECISION_FORMAT:
            raise ValueError(f"decision.json is not of format {DECISION_FORMAT}")
        return cls(np.array(raw.pop("x")), np.array(raw.pop("y")), **raw)


@dataclass(frozen=True)
class Answer:
    """Per row: probability of a grave injury (killed or hospitalised), class at the threshold, whether to doubt it."""

    probability: NDArray[np.float64]
    grave: NDArray[np.bool_]
    uncertain: NDArray[np.bool_]


class AccidentScorer:
    """One version, ready to answer. Thread-safe: nothing changes after construction."""

    def __init__(self, session: Any, spec: FeatureSpec, rule: Rule, trees: bytes | None = None) -> None:
        self._session = session
        self._trees = trees
        self.spec = spec
        self.rule = rule

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], manifest: Any = None) -> AccidentScorer:
        """Scorer of a bundle's files; `manifest`, where given, must state the inputs that the files take.

        Raises ValueError when the parts do not fit each other, or when a prediction on nothing known is no probability.
        """
        spec, rule = FeatureSpec.from_json(files[FEATURES_FILE]), Rule.from_json(files[DECISION_FILE])
        if manifest is not None:
            stated = [entry["name"] for entry in manifest.signature["inputs"]]
            if stated != list(spec.columns):
                raise ValueError("the manifest's signature names other inputs than features.json")
        scorer = cls(_session(files[MODEL_FILE]), spec, rule, files.get(TREES_FILE))
        width = scorer._session.get_inputs()[0].shape[1]
        if width != len(spec.names):
            raise ValueError(f"model.onnx takes {width} features, features.json builds {len(spec.names)}")
        smoke = float(scorer.probability({"catu": np.array([-1])})[0])
        if not 0.0 <= smoke <= 1.0:
            raise ValueError(f"the smoke prediction is {smoke}, not a probability")
        return scorer

    @property
    def columns(self) -> tuple[str, ...]:
        """Raw columns that a caller may give; each may be absent."""
        return self.spec.columns

    @property
    def threshold(self) -> float:
        """Probability from which the class is grave."""
        return self.rule.threshold

    def margin(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the trees say of each row of a feature matrix, shape (n,)."""
        if len(features) <= CHUNK:
            return self._session.run(None, {"features": features})[0].reshape(-1)
        parts = [self.margin(features[start : start + CHUNK]) for start in range(0, len(features), CHUNK)]
        return np.concatenate(parts)

    def probability(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Calibrated probability of a grave injury for every row of raw columns, shape (n,)."""
        return self.rule.probability(self.margin(build_features(columns, self.spec)))

    def answer(self, columns: Mapping[str, NDArray[Any]]) -> Answer:
        """Probability, class and doubt for every row of raw columns."""
        return self.answer_for(self.probability(columns))

    def answer_for(self, probability: NDArray[np.float64]) -> Answer:
        """Class and doubt for probabilities that are already computed."""
        rule = self.rule
        uncertain = (probability >= rule.uncertain_from) & (probability < rule.uncertain_to)
        return Answer(probability, probability >= rule.threshold, uncertain)

    def explain(self, columns: Mapping[str, NDArray[Any]], most: int = 5) -> list[list[Factor]]:
        """For every row the `most` strongest factors, strongest first. Raises ValueError when the bundle cannot."""
        from accident_reco.models.accidents.scoring.factors import top_factors

        features = build_features(columns, self.spec)
        by_column = self.explainer.by_column
        return [top_factors(by_column(features[row]), columns, row, most) for row in range(len(features))]

    @cached_property
    def explainer(self) -> Explainer:
        """Explains single predictions; built on first use, since most servers are never asked."""
        from accident_reco.models.accidents.scoring.explanations import Explainer
        from accident_reco.models.accidents.scoring.trees import Trees

        if self._trees is None:
            raise ValueError(f"this version carries no {TREES_FILE}: it cannot explain")
        return Explainer(Trees.from_npz(self._trees), self.spec)


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread: the order of additions is fixed, and a request never wakes a pool.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
