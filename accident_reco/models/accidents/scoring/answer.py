"""Fields of the answer for one road user: JSON, CSV, tensors, batch scores and documentation are built from `FIELDS`.

A new field of an answer is one entry of `FIELDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.scorer import Answer


@dataclass(frozen=True)
class AnswerField:
    """One field of an answer.

    Args:
        column: answer → array of shape (n,).
        kind: type in JSON.
        tensor: datatype in the Open Inference Protocol; None: no output tensor.
        in_json, in_batch: whether JSON and CSV answers, and batch scores, have the field.
        bounds: minimum and maximum, for the documentation.
    """

    name: str
    description: str
    column: Callable[[Answer], NDArray[Any]]
    kind: Any
    tensor: Literal["FP64", "BOOL", "INT32", "BYTES"] | None = None
    in_json: bool = True
    in_batch: bool = True
    bounds: tuple[float, float] | None = None


_SEVERITIES: Final = np.array(["light", "grave"], dtype=object)

FIELDS: Final[tuple[AnswerField, ...]] = (
    AnswerField(
        "probability",
        "Probability of being killed or hospitalised",
        lambda answer: answer.probability,
        float,
        "FP64",
        bounds=(0, 1),
    ),
    AnswerField(
        "severity",
        "`grave` (killed or hospitalised) when the probability reaches the threshold, else `light`",
        lambda answer: _SEVERITIES.take(answer.severe),
        Literal["grave", "light"],
        in_batch=False,
    ),
    AnswerField(
        "grave",
        "Whether the probability reaches the threshold",
        lambda answer: answer.severe,
        bool,
        "BOOL",
        in_json=False,
    ),
    AnswerField(
        "uncertain",
        "Neither class can be excluded at the model's coverage",
        lambda answer: answer.uncertain,
        bool,
        "BOOL",
    ),
)
JSON_FIELDS: Final = tuple(field for field in FIELDS if field.in_json)
TENSORS: Final = tuple(field for field in FIELDS if field.tensor)
PREDICTION_ID: Final = "prediction_id"


def build_answer_rows(answer: Answer, ids: Sequence[str]) -> list[dict[str, Any]]:
    """One dict per row with its prediction id, for JSON and CSV answers."""
    names = (PREDICTION_ID, *(field.name for field in JSON_FIELDS))
    columns = [field.column(answer).tolist() for field in JSON_FIELDS]
    return [dict(zip(names, row, strict=True)) for row in zip(ids, *columns, strict=True)]


def build_answer_columns(answer: Answer) -> dict[str, NDArray[Any]]:
    """Columns of batch scores by name, each of shape (n,)."""
    return {field.name: field.column(answer) for field in FIELDS if field.in_batch}
