"""A recommended movie, stated once: the JSON answers and their documentation come from `FIELDS`.

A new field of an answer is one entry of `FIELDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from accident_reco.models.movies.scoring.lookup import MovieLookup

Reason = Literal["personalised", "fold_in", "similar", "popular"]


@dataclass(frozen=True)
class Because:
    """A rated movie that a recommendation is based on, with the user's stars."""

    movie_id: int
    title: str
    rating: float


@dataclass(frozen=True)
class RankedMovies:
    """Recommended movies as columns of shape (n,), best first.

    Args:
        row: positions in the catalogue.
        score: what the order is by.
        stars: predicted rating, clipped to the scale.
        because: for each movie the rated movies that it is based on; empty where not requested.
    """

    catalogue: MovieLookup
    reason: Reason
    row: np.ndarray
    score: np.ndarray
    stars: np.ndarray
    because: Sequence[Sequence[Because]]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def movie_id(self) -> np.ndarray:
        """Movie ids."""
        return self.catalogue.movie_id[self.row]

    @property
    def genres(self) -> list[list[str]]:
        """Genre names of each movie."""
        return [self.catalogue.list_genres(row) for row in self.row.tolist()]


@dataclass(frozen=True)
class Answer:
    """Recommended movies, how they were found, and what the user should know (a fallback, an empty list)."""

    movies: RankedMovies
    reason: Reason
    note: str | None = None


@dataclass(frozen=True)
class AnswerField:
    """One field of a recommended movie.

    Args:
        kind: type in JSON.
        column: ranked movies → values, one per movie.
        description: for the documentation; None where the name suffices.
        on_request: whether an answer has the field only when the request sets the option of this name.
    """

    name: str
    kind: Any
    column: Callable[[RankedMovies], Sequence[Any]]
    description: str | None = None
    on_request: bool = False


FIELDS: Final[tuple[AnswerField, ...]] = (
    AnswerField("movie_id", int, lambda movies: movies.movie_id.tolist()),
    AnswerField("title", str, lambda movies: [movies.catalogue.titles[row] for row in movies.row.tolist()]),
    AnswerField("genres", list[str], lambda movies: movies.genres),
    AnswerField(
        "score",
        float,
        lambda movies: [round(value, 6) for value in movies.score.tolist()],
        "What the list is ordered by; comparable within one answer only",
    ),
    AnswerField(
        "predicted_rating",
        float,
        lambda movies: [round(value, 3) for value in movies.stars.tolist()],
        "Expected stars of this user (of all users where the user is unknown)",
    ),
    AnswerField("reason", Reason, lambda movies: [movies.reason] * len(movies), "How the movie was found"),
    AnswerField(
        "because",
        list[Because],
        lambda movies: movies.because,
        "With `because=true`: rated movies that the recommendation is based on",
        on_request=True,
    ),
)


def build_answer_rows(movies: RankedMovies, because: bool = False) -> list[dict[str, Any]]:
    """One dict per movie, as JSON answers have it; fields on request only with `because`."""
    fields = [field for field in FIELDS if because or not field.on_request]
    names = [field.name for field in fields]
    columns = [field.column(movies) for field in fields]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
