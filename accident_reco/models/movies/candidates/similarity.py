"""Similarities of movies by their ratings: Surprise's `pearson_baseline`, by sparse products."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from accident_reco.models.movies.candidates.trainset import IndexedRatings


@dataclass(frozen=True)
class Neighbours:
    """Similarities kept per movie: those of movie `m` are `[start[m]:start[m+1]]`, ascending by movie. Symmetric."""

    start: np.ndarray
    movie: np.ndarray
    similarity: np.ndarray

    def __getitem__(self, pair: tuple[int, int]) -> float:
        """Similarity of two movies, as Surprise looks it up; 0 where the pair was not kept, 1 on the diagonal."""
        one, other = pair
        if one == other:
            return 1.0
        row = self.movie[self.start[one] : self.start[one + 1]]
        at = int(np.searchsorted(row, other))
        return float(self.similarity[self.start[one] + at]) if at < len(row) and row[at] == other else 0.0

    @classmethod
    def from_csr(cls, table: Any) -> Neighbours:
        """Build from a scipy CSR matrix (movies, movies)."""
        table.sort_indices()
        return cls(table.indptr.astype(np.int64), table.indices.astype(np.int32), table.data)

    def renumber(self, places: np.ndarray, size: int) -> Neighbours:
        """The same similarities with movie `m` at position `places[m]` of `size`."""
        import scipy.sparse as sparse

        row = np.repeat(places, np.diff(self.start))
        return Neighbours.from_csr(sparse.csr_matrix((self.similarity, (row, places[self.movie])), shape=(size, size)))


def compute_similar_movies(
    data: IndexedRatings,
    mean: float,
    user_bias: np.ndarray,
    movie_bias: np.ndarray,
    *,
    shrinkage: float,
    keep: int,
    threads: int = 1,
    block_cells: int = 4_000_000,
) -> Neighbours:
    """Compute `pearson_baseline` between movies (Koren 2010, section 2.2), by sparse products over blocks of rows.

    Only positive similarities count in KNNBaseline, so only these are kept: a pair stays when it is among the `keep`
    best of either movie. Values are float32, and Surprise predicts from these very values.
    """
    import scipy.sparse as sparse

    movies = len(data.movie_ids)
    residual = data.rating.astype(np.float64) - mean - user_bias[data.user] - movie_bias[data.movie]
    shape = (movies, len(data.user_ids))

    def build_by_movie(values: np.ndarray) -> Any:
        return sparse.csr_matrix((values, (data.movie, data.user)), shape=shape)

    centred, squared, rated = (build_by_movie(values) for values in (residual, residual**2, np.ones(len(data))))
    # Once for all blocks: a product by a transposed matrix would convert it again.
    centred_by_user, squared_by_user, rated_by_user = (table.T.tocsr() for table in (centred, squared, rated))
    rows_at_once = max(1, block_cells // max(movies, 1))

    def select_best_of_block(first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        block = slice(first, min(first + rows_at_once, movies))
        # Four products over the same positions (except sums that are zero): their entries are in the same order.
        both = rated[block] @ rated_by_user
        norms = _align(both, squared[block] @ rated_by_user) * _align(both, rated[block] @ squared_by_user)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = _align(both, centred[block] @ centred_by_user) / np.sqrt(norms)
        value *= (both.data - 1) / (both.data - 1 + shrinkage)
        row = np.repeat(np.arange(first, block.stop), np.diff(both.indptr))
        chosen = _select_best_of_rows(both.indptr, np.where((both.data < 2) | (both.indices == row), 0, value), keep)
        return row[chosen], both.indices[chosen], value[chosen].astype(np.float32)

    # Threads, because the products release the interpreter's lock; results keep the order of the blocks.
    with ThreadPoolExecutor(threads) as pool:
        kept = list(pool.map(select_best_of_block, range(0, movies, rows_at_once)))
    row, column, value = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    best = sparse.csr_matrix((value, (row, column)), shape=(movies, movies))
    return Neighbours.from_csr(best.maximum(best.T).tocsr())


def _align(positions: Any, product: Any) -> np.ndarray:
    """Entries of a product at the positions of another; a product has no entries for sums that are exactly zero."""
    if product.nnz == positions.nnz:
        return np.asarray(product.data)
    rows = np.repeat(np.arange(positions.shape[0]), np.diff(positions.indptr))
    dense: np.ndarray = product.toarray()  # a block has few rows; looking entries up in a sparse table takes minutes
    return dense[rows, positions.indices]


def _select_best_of_rows(start: np.ndarray, value: np.ndarray, keep: int) -> np.ndarray:
    """Positions of the `keep` greatest positive values of each CSR row."""
    positive = value > 0
    chosen = []
    for row in range(len(start) - 1):
        at = np.flatnonzero(positive[start[row] : start[row + 1]]) + start[row]
        if len(at) > keep:
            at = at[np.argpartition(value[at], len(at) - keep)[len(at) - keep :]]
        chosen.append(at)
    return np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)
