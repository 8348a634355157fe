"""Item-to-item weights: what the ratings of a user add up to, movie by movie. One sparse product, numpy only.

The scorer of every kind whose model is a sparse matrix of weights (`ease`, `slim`). A user is known by the ratings
alone: there is nothing to fold in but the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from accident_reco.models.movies.candidates.candidate import narrow_positions, spread_movies
from accident_reco.models.movies.candidates.scorer import BaselineScorer, UserState

INPUTS: Final = ("binary", "stars", "confidence")
"""What a rating counts as: a bundle holds the position, so that the order never changes."""
WEIGHTS_KEPT: Final = (1_000_000, 2_000_000, 4_000_000)
"""Weights kept in total, 4 to 6 MB of a bundle for each million: as few as lose at most `MAX_PRUNING_LOSS`."""
MAX_PRUNING_LOSS: Final = 0.002
"""Largest NDCG@10 that the weights that are kept may lose to all of them, on the inner split."""


def encode_ratings(rating: np.ndarray, method: str) -> np.ndarray:
    """What ratings count as, float64: 1 each, stars / 5, or from 1/12 at two stars and below to 1 at five."""
    stars = np.asarray(rating, dtype=np.float64)
    if method == "binary":
        return np.ones(len(stars))
    if method == "stars":
        return stars / 5.0
    return np.maximum(stars - 2.0, 0.25) / 3.0


class ItemWeightScorer(BaselineScorer):
    """Ranks by the sum of the weights of the rated movies; predicted ratings come from the biases."""

    needs_history = True

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.start = arrays["weight_start"]
        self.target = arrays["weight_movie"].astype(np.int32, copy=False)  # uint16 in a bundle of a smaller catalogue
        self.weight = arrays["weight"].astype(np.float32)
        self.input = INPUTS[int(arrays["option_input"])]
        self.popularity = arrays["popularity"]
        lengths = np.diff(self.start)
        filled = np.flatnonzero(lengths)
        self._strongest = np.ones(len(lengths), dtype=np.float32)
        if len(filled):
            self._strongest[filled] = np.maximum(np.maximum.reduceat(self.weight, self.start[filled]), 1e-6)

    def score_all(self, state: UserState) -> np.ndarray:
        if not len(state.movie):
            return self.popularity.astype(np.float64)
        target, weight, length = self._read_rows(state.movie)
        counted = encode_ratings(state.rating, self.input)
        return np.bincount(target, weights=weight * np.repeat(counted, length), minlength=len(self.movie_bias))

    def compute_contributions(self, state: UserState, movie: np.ndarray) -> np.ndarray:
        """What each rating adds to the score of each movie: rows sum to `score_all`; shape (movies, ratings)."""
        table = np.zeros((len(movie), len(state.movie)))
        place = np.full(len(self.movie_bias), -1, dtype=np.int64)
        place[movie] = np.arange(len(movie))
        target, weight, length = self._read_rows(state.movie)
        nth = np.repeat(np.arange(len(length)), length)
        requested = place[target] >= 0
        counted = encode_ratings(state.rating, self.input)
        table[place[target[requested]], nth[requested]] = weight[requested] * counted[nth[requested]]
        return table

    def compute_similarity(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Weights of one movie for another, as shares of its strongest weight."""
        table = np.zeros((len(one), len(self.movie_bias)), dtype=np.float32)
        target, weight, length = self._read_rows(one)
        nth = np.repeat(np.arange(len(length)), length)
        table[nth, target] = weight / self._strongest[one][nth]
        table[np.arange(len(one)), one] = 1
        return np.clip(table[:, other], -1, 1)

    def _read_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights of some movies, one after the other: (target, weight, and how many each movie has)."""
        first = self.start[rows]
        length = self.start[rows + 1] - first
        at = np.repeat(first - np.cumsum(length) + length, length)
        at += np.arange(len(at))
        return self.target[at], self.weight[at], length


def prune_weights(blocks: Iterable[tuple[int, np.ndarray]], movies: int, keep: int) -> Any:
    """Keep the `keep` weights of the greatest size of a dense matrix that comes in blocks of rows.

    One bound for the whole matrix: the same number in each row or column costs ten times as much NDCG@10 (measured on
    ml-latest-small), because weights that matter are many for some movies and few for most.

    Args:
        blocks: first row and rows, shape (rows, movies).

    Returns:
        scipy CSR matrix (movies, movies).
    """
    import scipy.sparse as sparse

    value, position, bound = np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64), 0.0
    for first, block in blocks:
        flat = block.astype(np.float32).ravel()
        at = np.flatnonzero(np.abs(flat) > bound)
        value, position = np.concatenate([value, flat[at]]), np.concatenate([position, at + first * movies])
        if len(value) > keep:
            largest = np.sort(np.argpartition(-np.abs(value), keep - 1)[:keep])
            value, position = value[largest], position[largest]
            bound = float(np.abs(value).min())
    return sparse.csr_matrix((value, (position // movies, position % movies)), shape=(movies, movies))


def pack_weights(weights: Any) -> dict[str, np.ndarray]:
    """Arrays of a bundle from a CSR matrix (movies, movies).

    With its position a weight of float16 costs 6 bytes; 4 in a bundle of at most `MAX_NARROW` movies.
    """
    weights.sort_indices()
    return {
        "weight_start": weights.indptr.astype(np.int64),
        "weight_movie": weights.indices.astype(np.int32),
        "weight": weights.data.astype(np.float16),
    }


def spread_weights(arrays: Mapping[str, np.ndarray], place: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """`spread_movies`, and the weights with the positions of the catalogue."""
    lengths = np.zeros(size, dtype=np.int64)
    lengths[place] = np.diff(arrays["weight_start"])
    start = np.concatenate([[0], np.cumsum(lengths)])
    target = narrow_positions(place[arrays["weight_movie"]], size)
    plain = {name: values for name, values in arrays.items() if name not in ("weight_start", "weight_movie")}
    return spread_movies(plain, place, size) | {"weight_start": start, "weight_movie": target}
