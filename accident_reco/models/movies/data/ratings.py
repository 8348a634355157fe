"""Columns of ratings and movies as numpy arrays, and their scale. No reading, no rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

RATING_COLUMNS = ("user_id", "movie_id", "rating", "rated_at")

_YEAR_AT_END = re.compile(r"\((\d{4})(?:[-–]\d{0,4})?\)\s*$")


@dataclass(frozen=True)
class RatingScale:
    """Lowest and highest rating and the step between two (0.5 to 5 by 0.5; older sets 1 to 5 by 1)."""

    low: float = 0.5
    high: float = 5.0
    step: float = 0.5

    def contains(self, rating: np.ndarray) -> np.ndarray:
        """Mask of the ratings that are on the scale; NaN is not."""
        steps = (np.asarray(rating, dtype=np.float64) - self.low) / self.step
        inside = (steps >= -1e-9) & (steps <= (self.high - self.low) / self.step + 1e-9)
        with np.errstate(invalid="ignore"):  # infinite ones are not inside
            return inside & (np.abs(steps - np.round(steps)) < 1e-6)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g} by {self.step:g}"


@dataclass(frozen=True)
class Ratings:
    """Ratings as columns of one length: ids (int64), stars (float32), seconds since 1970 UTC (int64)."""

    user_id: np.ndarray
    movie_id: np.ndarray
    rating: np.ndarray
    rated_at: np.ndarray

    def __post_init__(self) -> None:
        lengths = {len(self.user_id), len(self.movie_id), len(self.rating), len(self.rated_at)}
        if len(lengths) != 1:
            raise ValueError(f"rating columns have different lengths: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.user_id)

    @classmethod
    def from_columns(
        cls, user_id: Iterable[int], movie_id: Iterable[int], rating: Iterable[float], rated_at: Iterable[int]
    ) -> Ratings:
        """Build from anything that numpy converts to columns."""
        return cls(
            np.asarray(user_id, dtype=np.int64),
            np.asarray(movie_id, dtype=np.int64),
            np.asarray(rating, dtype=np.float32),
            np.asarray(rated_at, dtype=np.int64),
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Ratings:
        """Columns of a data frame that has `user_id`, `movie_id`, `rating`, `rated_at`."""
        return cls.from_columns(*(frame[name].to_numpy() for name in RATING_COLUMNS))

    @classmethod
    def concatenate(cls, parts: Sequence[Ratings]) -> Ratings:
        """One set of columns from several, in their order."""
        if not parts:
            return cls.from_columns([], [], [], [])
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in RATING_COLUMNS))

    def to_frame(self) -> pd.DataFrame:
        """The columns as a data frame (no copies of the numbers)."""
        return pd.DataFrame({name: getattr(self, name) for name in RATING_COLUMNS}, copy=False)

    def take(self, rows: np.ndarray | slice) -> Ratings:
        """The rows of a mask, an index array or a slice."""
        return Ratings(*(getattr(self, name)[rows] for name in RATING_COLUMNS))

    def sort_by_user(self) -> Ratings:
        """The rows by user, then movie: the order in which every fit gets them, whatever the order of the source."""
        keys = build_pair_keys(self.user_id, self.movie_id)
        return self if bool((keys[1:] > keys[:-1]).all()) else self.take(np.argsort(keys, kind="stable"))


def build_pair_keys(user_id: np.ndarray, movie_id: np.ndarray) -> np.ndarray:
    """One unsigned 64-bit key per (user, movie): the identity of a rating, and what the holdout hashes."""
    return (np.asarray(user_id).astype(np.uint64) << np.uint64(32)) | np.asarray(movie_id).astype(np.uint64)


@dataclass(frozen=True)
class Catalogue:
    """Movies as columns, sorted by id: title as published (year included) and genres joined by `|` ('' if none).

    Args:
        notes: what was not as in the published sets when the file was read.
        numbered: ids are published as text and numbered.
    """

    movie_id: np.ndarray
    title: list[str]
    genres: list[str]
    notes: tuple[str, ...] = ()
    numbered: bool = False

    def __len__(self) -> int:
        return len(self.movie_id)

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[int, str, str]]) -> Catalogue:
        """Build from (id, title, genres): sorted by id, the first of rows that share an id."""
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        unique, first = np.unique(ids, return_index=True)
        titles, genres = ([rows[row][column] for row in first.tolist()] for column in (1, 2))
        return cls(unique, titles, genres)

    def to_frame(self) -> pd.DataFrame:
        """The catalogue as a data frame with the year of the title (-1 where it has none)."""
        return pd.DataFrame(
            {"movie_id": self.movie_id, "title": self.title, "genres": self.genres, "year": parse_years(self.title)}
        )


def parse_years(titles: Sequence[str]) -> np.ndarray:
    """Year at the end of each title, int16; -1 where there is none (`Babylon 5`; `Dekalog (1988-89)` is 1988)."""
    found = (_YEAR_AT_END.search(title) for title in titles)
    return np.array([int(match.group(1)) if match else -1 for match in found], dtype=np.int16)
