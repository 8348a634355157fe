"""Adapter of the accident model to the Open Inference Protocol v2: every BAAC column is an optional tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents import codebook
from accident_reco.models.accidents.data import schema
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS, get_context_bounds
from accident_reco.models.accidents.scoring.answer import PREDICTION_ID, TENSORS
from accident_reco.models.accidents.serving.request import MAX_USERS
from accident_reco.models.accidents.serving.routes import build_predictions
from serving.predict.model_slot import Champion
from serving.predict.tensors import InvalidInference, TensorSpec
from serving.predict.v2 import InferenceResult


class AccidentAdapter:
    """One road user per row; absent tensors and -1 are unknown."""

    platform = "onnx_accident_reco"
    max_rows = MAX_USERS
    # A car driver of 1987 in a head-on collision at night on a departmental road, and a pedestrian of 2015.
    example: ClassVar[Mapping[str, Sequence[Any]]] = {
        "catu": [1, 3],
        "an_nais": [1987, 2015],
        "lum": [3, 3],
        "col": [1, -1],
        "catr": [3, 4],
    }

    def inputs(self, champion: Champion[Any]) -> dict[str, TensorSpec]:
        """Input tensors: the raw columns of the champion."""
        return {name: TensorSpec(name, _get_datatype(name), required=False) for name in champion.model.columns}

    def outputs(self) -> list[TensorSpec]:
        """Output tensors: the fields of an answer and the prediction id."""
        fields = [TensorSpec(field.name, str(field.tensor)) for field in TENSORS]
        return [*fields, TensorSpec(PREDICTION_ID, "BYTES")]

    def infer(self, champion: Champion[Any], columns: Mapping[str, NDArray[Any]]) -> InferenceResult:
        """Validate the columns and score them.

        Raises:
            Problem: 422, a value is invalid.
        """
        ready = {name: _validate(name, values) for name, values in columns.items()}
        answer = champion.model.answer(ready)
        users = build_predictions(answer)
        ids = [user[PREDICTION_ID] for user in users]
        names, rows = list(ready), zip(*(values.tolist() for values in ready.values()), strict=True)
        outputs = {field.name: (str(field.tensor), field.column(answer)) for field in TENSORS}
        outputs[PREDICTION_ID] = ("BYTES", np.array(ids, dtype=object))
        return InferenceResult(
            outputs,
            ids,
            [dict(zip(names, row, strict=True)) for row in rows],
            [user["probability"] for user in users],
            [user["severity"] for user in users],
        )


def _get_datatype(name: str) -> str:
    return "BYTES" if name in schema.TEXT else "FP64" if name in schema.REAL else "INT32"


def _validate(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Canonical column of a tensor, shape (n,).

    Raises:
        Problem: 422, with the field and its rule.
    """
    if name in schema.TEXT:
        if values.dtype != np.object_:
            raise InvalidInference(f"Input {name} takes BYTES.")
        return np.array([str(value)[:200] for value in values.tolist()], dtype=object)
    if values.dtype.kind not in "iuf":
        raise InvalidInference(f"Input {name} takes numbers.")
    wide = values.astype(np.float64)
    unknown = np.isnan(wide) | (wide == codebook.UNKNOWN)
    if name in CONTEXT_COLUMNS:
        low, high = get_context_bounds(name)
        good, allowed = (wide >= low) & (wide <= high), f"{low} to {high}"
    else:
        spec = codebook.get_field(name)
        allowed = spec.allowed
        if spec.codes is not None:
            good = np.isin(wide, list(spec.codes))
        else:
            good = (wide >= (spec.low or 0)) & (wide <= (spec.high or np.inf))
            if spec.accepts(codebook.UNKNOWN):
                unknown = np.isnan(wide)
    if name not in schema.REAL:
        good = good & (wide == np.floor(wide))
    if not bool((good | unknown).all()):
        raise InvalidInference(f"Input {name} takes {allowed}, or -1 for unknown.")
    if name in schema.REAL:
        return np.where(unknown, np.nan, wide)
    return np.where(unknown, codebook.UNKNOWN, wide).astype(np.int32)
