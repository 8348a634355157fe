"""What each model's tensors are: one adapter per model name between the protocol's columns and the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents import codebook
from accident_reco.models.accidents.data import schema
from accident_reco.models.accidents.features.context import CONTEXT_COLUMNS
from accident_reco.models.accidents.serving.request import context_bounds
from accident_reco.models.accidents.serving.routes import predictions_of
from serving.predict.model_slot import Champion
from serving.predict.prediction_log import new_id
from serving.predict.tensors import Spec, refuse

Outputs = dict[str, tuple[str, NDArray[Any]]]


@dataclass(frozen=True)
class Scored:
    """Outputs of a call, and its rows for the prediction log."""

    outputs: Outputs
    ids: list[str]
    inputs: list[dict[str, Any]]
    scores: list[float]
    answers: list[Any]


class Adapter(Protocol):
    """The protocol's view of one model name."""

    platform: str

    def inputs(self, champion: Champion[Any]) -> dict[str, Spec]:
        """Tensors that a call may give."""

    def outputs(self) -> list[Spec]:
        """Tensors that an answer may hold."""

    def infer(self, champion: Champion[Any], columns: Mapping[str, NDArray[Any]]) -> Scored:
        """Answer a call. Raises Problem 422."""


class AccidentAdapter:
    """One road user a row; every BAAC column is an optional tensor, absent and -1 are unknown."""

    platform = "onnx_accident_reco"

    def inputs(self, champion: Champion[Any]) -> dict[str, Spec]:
        """The raw columns of the version that serves."""
        return {name: Spec(name, _datatype(name)) for name in champion.model.columns}

    def outputs(self) -> list[Spec]:
        """Probability, class and doubt, and the id to send feedback about."""
        return [
            Spec("probability", "FP64"), Spec("grave", "BOOL"), Spec("uncertain", "BOOL"),
            Spec("prediction_id", "BYTES"),
        ]  # fmt: skip

    def infer(self, champion: Champion[Any], columns: Mapping[str, NDArray[Any]]) -> Scored:
        """Check the codes, score."""
        ready = {name: _checked(name, values) for name, values in columns.items()}
        scored = champion.model.answer(ready)
        users = predictions_of(scored)
        ids = [user["prediction_id"] for user in users]
        names, rows = list(ready), zip(*(values.tolist() for values in ready.values()), strict=True)
        outputs: Outputs = {
            "probability": ("FP64", scored.probability.round(6)),
            "grave": ("BOOL", scored.grave),
            "uncertain": ("BOOL", scored.uncertain),
            "prediction_id": ("BYTES", np.array(ids, dtype=object)),
        }
        return Scored(
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
            raise refuse(f"Input {name} takes BYTES.")
        return np.array([str(value)[:200] for value in values.tolist()], dtype=object)
    if values.dtype.kind not in "iuf":
        raise refuse(f"Input {name} takes numbers.")
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
        raise refuse(f"Input {name} takes {allowed}, or -1 for unknown.")
    if name in schema.REAL:
        return np.where(unknown, np.nan, wide)
    return np.where(unknown, codebook.UNKNOWN, wide).astype(np.int32)


class MovieAdapter:
    """One (user, movie) pair a row; the answer is the predicted rating. Stored users as the version knows them."""

    platform = "numpy_accident_reco"

    def inputs(self, champion: Champion[Any]) -> dict[str, Spec]:
        """Both ids."""
        return {name: Spec(name, "INT64") for name in ("user_id", "movie_id")}

    def outputs(self) -> list[Spec]:
        """Predicted stars."""
        return [Spec("predicted_rating", "FP64")]

    def infer(self, champion: Champion[Any], columns: Mapping[str, NDArray[Any]]) -> Scored:
        """Predict each pair; unknown people and movies fall back to what is known."""
        missing = {"user_id", "movie_id"} - columns.keys()
        if missing or any(values.dtype.kind not in "iu" for values in columns.values()):
            raise refuse("user_id and movie_id are both needed, as INT64.")
        users, movies = (columns[name].astype(np.int64) for name in ("user_id", "movie_id"))
        stars = np.empty(len(users))
        for user in np.unique(users).tolist():
            of_user = users == user
            stars[of_user] = champion.model.predict(user, movies[of_user])
        stars = stars.round(4)
        call = new_id()
        pairs = zip(users.tolist(), movies.tolist(), strict=True)
        return Scored(
            {"predicted_rating": ("FP64", stars)},
            [f"{call}-{row}" for row in range(len(users))],
            [{"user_id": user, "movie_id": movie} for user, movie in pairs],
            stars.tolist(),
            [None] * len(users),
        )


ADAPTERS: Final[Mapping[str, Adapter]] = {"accidents": AccidentAdapter(), "movies": MovieAdapter()}
