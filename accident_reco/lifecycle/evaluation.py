"""The evaluation of a version beyond its metrics: slices, calibration, confusion, importances, in `evaluation.json`.

An optional file of a bundle, the same for all models, for pages and other clients of the API. The gate does not read
it. Numbers are rounded, so that the file, which the version id covers, is the same on every machine.

    {"format": 1, "metric": "roc_auc",
     "slices": [{"name": "catu: pedestrian", "rows": 812, "value": 0.81, "low": 0.78, "high": 0.84, "more": {…}}],
     "calibration": [{"predicted": 0.03, "observed": 0.02, "rows": 140}],
     "confusion": {"threshold": 0.31, "tp": 1, "fp": 2, "fn": 3, "tn": 4} | null,
     "importances": [{"name": "catu", "value": 0.03}]}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from accident_reco.lifecycle.bundle import canonical_json

EVALUATION_FILE: Final = "evaluation.json"
FORMAT: Final = 1
DIGITS: Final = 4


@dataclass(frozen=True)
class SliceValue:
    """The deciding metric on a part of the holdout, with its 95 % interval where one was measured.

    Args:
        more: further figures by name, such as the metric of a baseline.
    """

    name: str
    rows: int
    value: float
    low: float | None = None
    high: float | None = None
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CalibrationBin:
    """Mean prediction and observed rate of some rows."""

    predicted: float
    observed: float
    rows: int


@dataclass(frozen=True)
class Confusion:
    """Counts at a threshold."""

    threshold: float
    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True)
class VersionEvaluation:
    """An evaluation on the frozen holdout.

    Args:
        metric: metric of the slices.
        importances: column → loss of the metric without it, largest first.
    """

    metric: str
    slices: Sequence[SliceValue] = ()
    calibration: Sequence[CalibrationBin] = ()
    confusion: Confusion | None = None
    importances: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The file: the same bytes for the same evaluation; numbers that are not finite are null."""
        document = asdict(self) | {
            "format": FORMAT,
            "importances": [{"name": name, "value": value} for name, value in self.importances.items()],
        }
        return canonical_json(_round(document))


def read_evaluation(content: bytes) -> dict[str, Any]:
    """The document of a file. Raises ValueError for another format."""
    document = json.loads(content)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{EVALUATION_FILE} is not of format {FORMAT}")
    return document


def _round(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _round(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_round(part) for part in value]
    if isinstance(value, float):
        return round(value, DIGITS) if math.isfinite(value) else None
    return value
