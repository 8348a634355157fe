"""Decides which rating rows are kept, and says of every other one why not. Vectorised; no files, no own clock."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from accident_reco.models.movies.data.ratings import MAX_ID, Ratings, RatingScale, pair_keys

QUARANTINE_COLUMNS = ("file", "line", "user_id", "movie_id", "rating", "rated_at", "rule", "reason")
# From here on a number of seconds lies beyond the year 5000: it is a number of milliseconds.
MILLISECONDS_FROM = 100_000_000_000
MAX_REFUSED = 0.02
EARLIEST = 694_224_000  # 1992-01-01: before it, nobody rated anything on the web


@dataclass(frozen=True)
class RawChunk:
    """Rows of a rating file as read: line numbers, text, and its numbers (NaN or -1 where the text is none)."""

    file: str
    line: np.ndarray
    text: dict[str, Callable[[np.ndarray], list[str]]]
    user_id: np.ndarray
    movie_id: np.ndarray
    rating: np.ndarray
    rated_at: np.ndarray


class SeenPairs:
    """The (user, movie) keys met so far, 8 bytes each: sorted runs that merge when two have grown alike."""

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def add(self, keys: np.ndarray) -> np.ndarray:
        """Which of `keys` were met before, or earlier in `keys`; then remember them all."""
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        again = np.zeros(len(keys), dtype=bool)
        again[order[1:]] = ordered[1:] == ordered[:-1]
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, keys), len(run) - 1)
            again |= run[at] == keys
        fresh = np.unique(keys[~again])
        if len(fresh):
            self._runs.append(fresh)
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")
        return again


@dataclass
class RatingRules:
    """The rules of one import. Keeps the pairs it has seen, so feed it the chunks of one file in order.

    `now` is the import's own time in seconds UTC: a rating later than a day after it is from the future.
    """

    scale: RatingScale
    known_movies: np.ndarray
    now: int
    counts: dict[str, int] = field(default_factory=dict)
    _seen: SeenPairs = field(default_factory=SeenPairs)

    def sift(self, chunk: RawChunk) -> tuple[Ratings, pd.DataFrame]:
        """Split a chunk into ratings to keep and a frame of quarantined rows (`QUARANTINE_COLUMNS`)."""
        rule = np.zeros(len(chunk.line), dtype=np.int8)
        for number, broken in enumerate(self._broken(chunk), start=1):
            rule[(rule == 0) & broken] = number
        clean = np.flatnonzero(rule == 0)
        # Only rows that are otherwise sound can be the first of a pair.
        again = self._seen.add(pair_keys(chunk.user_id[clean], chunk.movie_id[clean]))
        rule[clean[again]] = len(_RULES)
        bad = np.flatnonzero(rule)
        kept = np.flatnonzero(rule == 0)
        return (
            Ratings.of(chunk.user_id[kept], chunk.movie_id[kept], chunk.rating[kept], chunk.rated_at[kept]),
            self._explain(chunk, bad, rule[bad]),
        )

    def _broken(self, chunk: RawChunk) -> list[np.ndarray]:
        known = np.asarray(self.known_movies)
        at = np.minimum(np.searchsorted(known, chunk.movie_id), max(len(known) - 1, 0))
        found = known[at] == chunk.movie_id if len(known) else np.zeros(len(chunk.line), dtype=bool)
        ids_bad = (chunk.user_id < 1) | (chunk.user_id > MAX_ID) | (chunk.movie_id < 1) | (chunk.movie_id > MAX_ID)
        return [
            ids_bad,
            ~self.scale.holds(chunk.rating),
            chunk.rated_at >= MILLISECONDS_FROM,
            chunk.rated_at > self.now + 86_400,
            chunk.rated_at < EARLIEST,
            ~found,
        ]

    def _explain(self, chunk: RawChunk, rows: np.ndarray, rule: np.ndarray) -> pd.DataFrame:
        if not len(rows):
            return pd.DataFrame({name: [] for name in QUARANTINE_COLUMNS})
        text = {name: take(rows) for name, take in chunk.text.items()}
        names = [_RULES[number - 1] for number in rule.tolist()]
        for name in names:
            self.counts[name] = self.counts.get(name, 0) + 1
        reasons = [
            f"{chunk.file} line {line}: {self._reason(name, user, movie, rating, when)}; row kept in quarantine"
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

    def _reason(self, rule: str, user: str, movie: str, rating: str, when: str) -> str:
        return {
            "identifier": f"user {user!r} or movie {movie!r} is not an id from 1 to {MAX_ID}",
            "rating_scale": f"rating = {rating} is not on the scale {self.scale}",
            "timestamp_milliseconds": f"timestamp = {when} is in milliseconds, seconds are expected",
            "timestamp_future": f"timestamp = {when} lies after the import ({self.now})",
            "timestamp_missing": f"timestamp = {when} is not a time after 1992",
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


def refusals(rows: int, refused: int) -> tuple[bool, str]:
    """Whether an import refused so few rows that the others may teach, and the figures in words."""
    share = refused / max(rows + refused, 1)
    told = f"{refused:,} of {rows + refused:,} rating rows refused ({share:.2%}); rating_quarantine tells why"
    return share <= MAX_REFUSED, told


def malformed(file: str, lines: list[tuple[int, str]], columns: int) -> pd.DataFrame:
    """Quarantine rows for lines that do not even have the right number of columns."""
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
