"""The movie model over the Open Inference Protocol v2: predicted stars of (user, movie) pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from serving.predict.model_slot import Champion
from serving.predict.prediction_log import new_id
from serving.predict.tensors import InvalidInference, TensorSpec
from serving.predict.v2 import InferenceResult

MAX_PAIRS: Final = 1_000
INPUTS: Final = ("user_id", "movie_id")


class MovieAdapter:
    """One (user, movie) pair per row; the output is the predicted rating. Users are as the version knows them."""

    platform = "numpy_accident_reco"
    max_rows = MAX_PAIRS
    example: ClassVar[Mapping[str, Sequence[Any]]] = {"user_id": [1, 1], "movie_id": [1, 2]}

    def inputs(self, champion: Champion[Any]) -> dict[str, TensorSpec]:
        """Both ids."""
        return {name: TensorSpec(name, "INT64") for name in INPUTS}

    def outputs(self) -> list[TensorSpec]:
        """Predicted stars."""
        return [TensorSpec("predicted_rating", "FP64")]

    def infer(self, champion: Champion[Any], columns: Mapping[str, NDArray[Any]]) -> InferenceResult:
        """Predict each pair; unknown users and movies get the mean and the biases that are known."""
        if set(INPUTS) - columns.keys() or any(values.dtype.kind not in "iu" for values in columns.values()):
            raise InvalidInference("user_id and movie_id are both needed, as INT64.")
        users, movies = (columns[name].astype(np.int64) for name in INPUTS)
        stars = np.empty(len(users))
        for user in np.unique(users).tolist():
            rows = users == user
            stars[rows] = champion.model.predict(user, movies[rows])
        stars = stars.round(4)
        call = new_id()
        pairs = zip(users.tolist(), movies.tolist(), strict=True)
        return InferenceResult(
            {"predicted_rating": ("FP64", stars)},
            [f"{call}-{row}" for row in range(len(users))],
            [dict(zip(INPUTS, pair, strict=True)) for pair in pairs],
            stars.tolist(),
            [None] * len(users),
        )
