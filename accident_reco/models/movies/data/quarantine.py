"""Separates valid rating rows from those for quarantine, each with its reason. Vectorised; no files, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from accident_reco.models.movies.data.bounds import MAX_ID, MIN_RATED_AT
from accident_reco.models.movies.data.ratings import Ratings, RatingScale, build_pair_keys

QUARANTINE_COLUMNS = ("file", "line", "user_id", "movie_id", "rating", "rated_at", "rule", "reason")
MILLISECONDS_FROM = 100_000_000_000
"""As seconds this is beyond the year 5000: larger times are milliseconds."""
MAX_LISTED = 1 << 26
"""Largest movie id up to which the known ones are a table of all ids, a byte each."""
MAX_QUARANTINED = 0.02
"""Largest share of rows in quarantine with which an import may train."""


@dataclass(frozen=True)
class RawChunk:
    """Rows of a rating file as read: line numbers, text, and its numbers (NaN or -1 where the text is no number)."""

    file: str
    line: np.ndarray
    text: dict[str, Callable[[np.ndarray], list[str]]]
    user_id: np.ndarray
    movie_id: np.ndarray
    rating: np.ndarray
    rated_at: np.ndarray


class SeenPairs:
    """The (user, movie) keys seen so far, 8 bytes each, in sorted runs that merge when two are of similar length.

    Keys of a file that is sorted by user and movie are larger than all before them: they are kept as they come.
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []
        self._ascending: list[np.ndarray] = []
        self._largest = 0

    def add(self, keys: np.ndarray) -> np.ndarray:
        """Add keys; returns the mask of those seen before or earlier in `keys`."""
        if not len(keys):
            return np.zeros(0, dtype=bool)
        if keys[0] > self._largest and bool((keys[1:] > keys[:-1]).all()):
            self._ascending.append(keys)
            self._largest = keys[-1]
            return np.zeros(len(keys), dtype=bool)
        if self._ascending:
            self._add_run(np.concatenate(self._ascending))
            self._ascending.clear()
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        again = np.zeros(len(keys), dtype=bool)
        again[order[1:]] = ordered[1:] == ordered[:-1]
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, keys), len(run) - 1)
            again |= run[at] == keys
        fresh = np.unique(keys[~again])
        if len(fresh):
            self._add_run(fresh)
            self._largest = max(self._largest, fresh[-1])
        return again

    def _add_run(self, keys: np.ndarray) -> None:
        self._runs.append(keys)
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")


@dataclass
class RatingRules:
    """The rules of one import. Keeps the pairs it has seen, so pass it the chunks of one file in order.

    Args:
        now: time of the import in seconds UTC; a rating more than a day later is from the future.
        counts: rule → rows that broke it so far.
    """

    scale: RatingScale
    known_movies: np.ndarray
    now: int
    counts: dict[str, int] = field(default_factory=dict)
    _seen: SeenPairs = field(default_factory=SeenPairs)
    _is_listed: np.ndarray | None = None

    def partition_valid(self, chunk: RawChunk) -> tuple[Ratings, pd.DataFrame]:
        """Split a chunk into valid ratings and a frame of rows for quarantine (`QUARANTINE_COLUMNS`)."""
        rule = np.zeros(len(chunk.line), dtype=np.int8)
        for number, broken in enumerate(self._evaluate_rules(chunk), start=1):
            if broken.any():
                rule[(rule == 0) & broken] = number
        clean = np.flatnonzero(rule == 0) if rule.any() else slice(None)
        # Only rows that are otherwise valid can be the first of a pair.
        again = self._seen.add(build_pair_keys(chunk.user_id[clean], chunk.movie_id[clean]))
        if again.any():
            rule[np.arange(len(rule))[clean][again]] = len(_RULES)
        if not rule.any():
            names = (chunk.user_id, chunk.movie_id, chunk.rating, chunk.rated_at)
            return Ratings.from_columns(*names), self._explain(chunk, np.empty(0, np.int64), rule)
        bad = np.flatnonzero(rule)
        kept = np.flatnonzero(rule == 0)
        return (
            Ratings.from_columns(chunk.user_id[kept], chunk.movie_id[kept], chunk.rating[kept], chunk.rated_at[kept]),
            self._explain(chunk, bad, rule[bad]),
        )

    def _evaluate_rules(self, chunk: RawChunk) -> list[np.ndarray]:
        """Masks of the rows that break each rule, in the order of `_RULES`."""
        ids_bad = (chunk.user_id < 1) | (chunk.user_id > MAX_ID) | (chunk.movie_id < 1) | (chunk.movie_id > MAX_ID)
        return [
            ids_bad,
            ~self.scale.contains(chunk.rating),
            chunk.rated_at >= MILLISECONDS_FROM,
            chunk.rated_at > self.now + 86_400,
            chunk.rated_at < MIN_RATED_AT,
            ~self._is_known(chunk.movie_id),
        ]

    def _is_known(self, movie_id: np.ndarray) -> np.ndarray:
        """Mask of the movies that the movies file has."""
        if self._is_listed is None:
            largest = int(np.max(self.known_movies, initial=0))
            self._is_listed = np.zeros(largest + 1 if largest <= MAX_LISTED else 0, dtype=bool)
            self._is_listed[self.known_movies[: len(self._is_listed)]] = True
        if len(self._is_listed):
            inside = (movie_id >= 0) & (movie_id < len(self._is_listed))
            return inside & self._is_listed[np.where(inside, movie_id, 0)]
        return np.isin(movie_id, self.known_movies)

    def _explain(self, chunk: RawChunk, rows: np.ndarray, rule: np.ndarray) -> pd.DataFrame:
        if not len(rows):
            return pd.DataFrame({name: [] for name in QUARANTINE_COLUMNS})
        text = {name: take(rows) for name, take in chunk.text.items()}
        names = [_RULES[number - 1] for number in rule.tolist()]
        for name in names:
            self.counts[name] = self.counts.get(name, 0) + 1
        reasons = [
            f"{chunk.file} line {line}: {self._describe(name, user, movie, rating, when)}; row kept in quarantine"
            for name, line, user, movie, rating, when in zip(
                names,
                chunk.line[rows].tolist(),
                text["user_id"],
                text["movie_id"],
                text["rating"],
                text["rated_at"],
                strict=True,
            )
        ]
        return pd.DataFrame(
            {"file": chunk.file, "line": chunk.line[rows], **text, "rule": names, "reason": reasons},
            columns=list(QUARANTINE_COLUMNS),
        )

    def _describe(self, rule: str, user: str, movie: str, rating: str, when: str) -> str:
        return {
            "identifier": f"user {user!r} or movie {movie!r} is not an id from 1 to {MAX_ID}",
            "rating_scale": f"rating = {rating} is not on the scale {self.scale}",
            "timestamp_milliseconds": f"timestamp = {when} is in milliseconds, seconds are expected",
            "timestamp_future": f"timestamp = {when} lies after the import ({self.now})",
            "timestamp_missing": f"timestamp = {when} is neither seconds since 1970 nor an ISO date, from 1992 on",
            "unknown_movie": f"movie {movie} is not in the movies file",
            "duplicate": f"user {user} has already rated movie {movie} in this file; the first row counts",
        }[rule]


_RULES = (
    "identifier",
    "rating_scale",
    "timestamp_milliseconds",
    "timestamp_future",
    "timestamp_missing",
    "unknown_movie",
    "duplicate",
)


def check_quarantine(rows: int, quarantined: int, first: str = "") -> tuple[bool, str]:
    """Whether few enough rows of an import are in quarantine for its ratings to train, and the figures in words.

    Args:
        first: reason of the first row in quarantine, with which the words begin where they are too many.
    """
    share = quarantined / max(rows + quarantined, 1)
    reason = f"{quarantined:,} of {rows + quarantined:,} rating rows quarantined ({share:.2%}); see rating_quarantine"
    passed = share <= MAX_QUARANTINED
    return passed, reason if passed or not first else f"{first}; {reason}"


def build_malformed(file: str, lines: list[tuple[int, str]], columns: int) -> pd.DataFrame:
    """Quarantine rows of lines with a wrong number of columns."""
    return pd.DataFrame(
        {
            "file": file,
            "line": [number for number, _ in lines],
            "user_id": "",
            "movie_id": "",
            "rating": "",
            "rated_at": "",
            "rule": "malformed",
            "reason": [
                f"{file} line {number}: {text[:80]!r} does not have {columns} columns; row kept in quarantine"
                for number, text in lines
            ],
        },
        columns=list(QUARANTINE_COLUMNS),
    )
