"""Generates sample files in the MovieLens format: true headers and defects, any scale, same seed same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from accident_reco.models.movies.data.synthetic_ratings import (
    GENRES,
    SyntheticMovies,
    SyntheticUsers,
    generate_ratings,
)

FIRST_RATING = 1_300_000_000  # March 2011
LAST_RATING = 1_700_000_000  # November 2023
_BLOCK_USERS = 500
_STARS = pa.array([f"{half / 2:.1f}" for half in range(11)])


@dataclass(frozen=True)
class SampleSpec:
    """Size and seed of the sample. `bad_rows` per million break a rule, so that the quarantine finds them."""

    ratings: int = 60_000
    seed: int = 20
    movies: int = 0
    """0: a sixtieth of the ratings, 300 at least."""
    mean_ratings: float = 100.0
    bad_rows: int = 200

    @property
    def movie_count(self) -> int:
        """Movies of the catalogue."""
        return self.movies or max(300, self.ratings // 60)

    @property
    def user_count(self) -> int:
        """Users, for about the number of ratings."""
        return max(20, round(self.ratings / self.mean_ratings))


def generate_movies_csv(spec: SampleSpec) -> bytes:
    """The sample's `movies.csv`."""
    movies = SyntheticMovies.generate(spec.movie_count, spec.seed)
    text = io.StringIO(newline="")
    ids = build_movie_ids(np.arange(spec.movie_count)).tolist()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["movieId", "title", "genres"])
    for row, (title, year, flags) in enumerate(zip(movies.title, movies.year.tolist(), movies.flags, strict=True)):
        names = "|".join(GENRES[number] for number in np.flatnonzero(flags)) or "(no genres listed)"
        writer.writerow([ids[row], f"{title} ({year})", names])
    return text.getvalue().encode()


def generate_ratings_csv(spec: SampleSpec) -> Iterator[bytes]:
    """The sample's `ratings.csv`, in blocks: memory does not grow with the size."""
    movies = SyntheticMovies.generate(spec.movie_count, spec.seed)
    yield b"userId,movieId,rating,timestamp\n"
    for block, first in enumerate(range(0, spec.user_count, _BLOCK_USERS)):
        random = np.random.default_rng([spec.seed, 2, block])
        users = SyntheticUsers.generate(
            min(_BLOCK_USERS, spec.user_count - first), spec.mean_ratings, FIRST_RATING, LAST_RATING, random
        )
        user, movie, stars, when = generate_ratings(movies, users, random)
        columns = {
            "user": user + first + 1,
            "movie": build_movie_ids(movie),
            "half": (stars * 2).astype(np.int64),
            "when": when,
        }
        yield _encode(_corrupt(columns, spec, random))


def build_movie_ids(rows: np.ndarray) -> np.ndarray:
    """Movie ids of the sample, with gaps like the real ones."""
    return rows * 3 + 1


def _corrupt(columns: dict[str, np.ndarray], spec: SampleSpec, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Corrupt a few rows, and repeat a few, as found in real files."""
    rows = len(columns["user"])
    bad = np.flatnonzero(random.random(rows) < spec.bad_rows / 1e6)
    kind = random.integers(0, 5, len(bad))
    columns["half"][bad[kind == 0]] = 0
    columns["when"][bad[kind == 1]] *= 1_000
    columns["when"][bad[kind == 2]] = 4_102_444_800  # 2100
    columns["movie"][bad[kind == 3]] = spec.movie_count * 3 + 2
    again = np.sort(np.concatenate([np.arange(rows), bad[kind == 4]]))
    return {name: values[again] for name, values in columns.items()}


def _encode(columns: dict[str, np.ndarray]) -> bytes:
    table = pa.table(
        {
            "userId": pa.array(columns["user"]),
            "movieId": pa.array(columns["movie"]),
            "rating": _STARS.take(pa.array(columns["half"])),
            "timestamp": pa.array(columns["when"]),
        }
    )
    stream = io.BytesIO()
    pa_csv.write_csv(table, stream, pa_csv.WriteOptions(include_header=False, quoting_style="none"))
    return stream.getvalue()
