"""The accident model over the Open Inference Protocol v2: every BAAC column is an optional tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents import codebook
from accident_reco.models.accidents.data import schema
from accident_reco.models.accidents.features.context import CONTEXT_COLUMNS
from accident_reco.models.accidents.scoring.answer import PREDICTION_ID, TENSORS
from accident_reco.models.accidents.serving.request import MAX_USERS, context_bounds
from accident_reco.models.accidents.serving.routes import predictions_of
from serving.predict.model_slot import Champion
from serving.predict.tensors import InvalidInference, TensorSpec
from serving.predict.v2 import InferenceResult


class AccidentAdapter:
    """One road user a row; every BAAC column is an optional tensor, absent and -1 are unknown."""

    platform = "onnx_accident_reco"
    max_rows = MAX_USERS

    def inputs(self, champion: Champion[Any]) -> dict[str, TensorSpec]:
        """The raw columns of the version that serves."""
        return {name: TensorSpec(name, _datatype(name)) for name in champion.model.columns}

    def outputs(self) -> list[TensorSpec]:
        """The fields of an answer, and the id to send feedback about."""
        fields = [TensorSpec(field.name, str(field.tensor)) for field in TENSORS]
        return [*fields, TensorSpec(PREDICTION_ID, "BYTES")]

    def infer(self, champion: Champion[Any], columns: Mapping[str, NDArray[Any]]) -> InferenceResult:
        """Check the codes, score."""
        ready = {name: _checked(name, values) for name, values in columns.items()}
        answer = champion.model.answer(ready)
        users = predictions_of(answer)
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


def _datatype(name: str) -> str:
    return "BYTES" if name in schema.TEXT else "FP64" if name in schema.REAL else "INT32"


def _checked(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Canonical column of a tensor. Raises Problem 422 naming the field and its rule."""
    if name in schema.TEXT:
        if values.dtype != np.object_:
            raise InvalidInference(f"Input {name} takes BYTES.")
        return np.array([str(value)[:200] for value in values.tolist()], dtype=object)
    if values.dtype.kind not in "iuf":
        raise InvalidInference(f"Input {name} takes numbers.")
    wide = values.astype(np.float64)
    unknown = np.isnan(wide) | (wide == codebook.UNKNOWN)
    if name in CONTEXT_COLUMNS:
        low, high = context_bounds(name)
        good, allowed = (wide >= low) & (wide <= high), f"{low} to {high}"
    else:
        spec = codebook.field(name)
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
