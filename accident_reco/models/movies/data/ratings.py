"""The shapes in which ratings and movies travel: columns of numpy arrays. No reading, no rules."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

RATING_COLUMNS = ("user_id", "movie_id", "rating", "rated_at")
MAX_ID = 2**31 - 1
"""Ids fit in 31 bits, so that a (user, movie) pair fits in one unsigned 64-bit key."""

_YEAR_AT_END = re.compile(r"\((\d{4})(?:[-–]\d{0,4})?\)\s*$")


@dataclass(frozen=True)
class RatingScale:
    """Lowest and highest rating and the step between two (0.5 to 5 by 0.5; older sets 1 to 5 by 1)."""

    low: float = 0.5
    high: float = 5.0
    step: float = 0.5

    def holds(self, rating: np.ndarray) -> np.ndarray:
        """Which ratings lie on the scale; NaN does not."""
        steps = (np.asarray(rating, dtype=np.float64) - self.low) / self.step
        inside = (steps >= -1e-9) & (steps <= (self.high - self.low) / self.step + 1e-9)
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
    def of(
        cls, user_id: Iterable[int], movie_id: Iterable[int], rating: Iterable[float], rated_at: Iterable[int]
    ) -> "Ratings":
        """Build from anything that numpy can turn into columns."""
        return cls(
            np.asarray(user_id, dtype=np.int64),
            np.asarray(movie_id, dtype=np.int64),
            np.asarray(rating, dtype=np.float32),
            np.asarray(rated_at, dtype=np.int64),
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "Ratings":
        """Columns of a data frame that has `user_id`, `movie_id`, `rating`, `rated_at`."""
        return cls.of(*(frame[name].to_numpy() for name in RATING_COLUMNS))

    @classmethod
    def concatenate(cls, parts: Sequence["Ratings"]) -> "Ratings":
        """One set of columns from several, in their order."""
        if not parts:
            return cls.of([], [], [], [])
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in RATING_COLUMNS))

    def frame(self) -> pd.DataFrame:
        """The columns as a data frame (no copies of the numbers)."""
        return pd.DataFrame({name: getattr(self, name) for name in RATING_COLUMNS}, copy=False)

    def take(self, rows: np.ndarray) -> "Ratings":
        """The rows that a mask or an index array names."""
        return Ratings(*(getattr(self, name)[rows] for name in RATING_COLUMNS))

    def ordered(self) -> "Ratings":
        """Sorted by user, then movie: the order in which every model sees the rows, whatever the source's order."""
        return self.take(np.lexsort((self.movie_id, self.user_id)))


def pair_keys(user_id: np.ndarray, movie_id: np.ndarray) -> np.ndarray:
    """One unsigned 64-bit key per (user, movie): the identity of a rating, and what the holdout hashes."""
    return (np.asarray(user_id).astype(np.uint64) << np.uint64(32)) | np.asarray(movie_id).astype(np.uint64)


@dataclass(frozen=True)
class Catalogue:
    """Movies as columns, sorted by id: title as published (year included) and genres joined by `|` ('' if none)."""

    movie_id: np.ndarray
    title: list[str]
    genres: list[str]

    def __len__(self) -> int:
        return len(self.movie_id)

    @classmethod
    def of(cls, movie_id: Iterable[int], title: Iterable[str], genres: Iterable[str]) -> "Catalogue":
        """Sort by id and keep the first of movies that share one."""
        ids, titles, names = np.asarray(list(movie_id), dtype=np.int64), list(title), list(genres)
        unique, first = np.unique(ids, return_index=True)
        return cls(unique, [titles[row] for row in first], [names[row] for row in first])

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "Catalogue":
        """Columns of a data frame that has `movie_id`, `title`, `genres`."""
        return cls.of(frame["movie_id"].tolist(), frame["title"].tolist(), frame["genres"].tolist())

    def frame(self) -> pd.DataFrame:
        """The catalogue as a data frame with the year read from the title (-1 where it names none)."""
        return pd.DataFrame(
            {"movie_id": self.movie_id, "title": self.title, "genres": self.genres, "year": years_of(self.title)}
        )


def years_of(titles: Sequence[str]) -> np.ndarray:
    """Year at the end of each title, int16; -1 where there is none (`Babylon 5` has none, `Dekalog (1988-89)` has)."""
    found = (_YEAR_AT_END.search(title) for title in titles)
    return np.array([int(match.group(1)) if match else -1 for match in found], dtype=np.int16)
