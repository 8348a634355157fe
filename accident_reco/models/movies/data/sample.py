"""Writes MovieLens-shaped files of a made-up world: true headers and quirks, any scale, same seed same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from accident_reco.models.movies.data.synthetic_ratings import GENRES, People, World, rate

FIRST_RATING = 1_300_000_000  # March 2011
LAST_RATING = 1_700_000_000  # November 2023
_BLOCK_PEOPLE = 500
_STARS = pa.array([f"{half / 2:.1f}" for half in range(11)])


@dataclass(frozen=True)
class SampleSpec:
    """Size and seed of the sample. `bad_rows` of a million are wrong in a way that the quarantine must find."""

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
    def people(self) -> int:
        """Users, so that the number of ratings comes out about right."""
        return max(20, round(self.ratings / self.mean_ratings))


def movies_csv(spec: SampleSpec) -> bytes:
    """The sample's `movies.csv`."""
    world = World.make(spec.movie_count, spec.seed)
    text = io.StringIO(newline="")
    ids = movie_ids(np.arange(spec.movie_count)).tolist()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["movieId", "title", "genres"])
    for row, (title, year, flags) in enumerate(zip(world.title, world.year.tolist(), world.flags, strict=True)):
        names = "|".join(GENRES[number] for number in np.flatnonzero(flags)) or "(no genres listed)"
        writer.writerow([ids[row], f"{title} ({year})", names])
    return text.getvalue().encode()


def ratings_csv(spec: SampleSpec) -> Iterator[bytes]:
    """The sample's `ratings.csv`, in blocks: memory does not grow with its size."""
    world = World.make(spec.movie_count, spec.seed)
    yield b"userId,movieId,rating,timestamp\n"
    for block, first in enumerate(range(0, spec.people, _BLOCK_PEOPLE)):
        random = np.random.default_rng([spec.seed, 2, block])
        people = People.make(
            min(_BLOCK_PEOPLE, spec.people - first), spec.mean_ratings, FIRST_RATING, LAST_RATING, random
        )
        person, movie, stars, when = rate(world, people, random)
        columns = {
            "user": person + first + 1,
            "movie": movie_ids(movie),
            "half": (stars * 2).astype(np.int64),
            "when": when,
        }
        yield _lines(_spoil(columns, spec, random))


def movie_ids(rows: np.ndarray) -> np.ndarray:
    """Ids of movies of the sample: like the real ones they have gaps."""
    return rows * 3 + 1


def _spoil(columns: dict[str, np.ndarray], spec: SampleSpec, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Break a few rows, and repeat a few, in the ways met in the wild."""
    rows = len(columns["user"])
    bad = np.flatnonzero(random.random(rows) < spec.bad_rows / 1e6)
    kind = random.integers(0, 5, len(bad))
    columns["half"][bad[kind == 0]] = 0
    columns["when"][bad[kind == 1]] *= 1_000
    columns["when"][bad[kind == 2]] = 4_102_444_800  # 2100
    columns["movie"][bad[kind == 3]] = spec.movie_count * 3 + 2
    again = np.sort(np.concatenate([np.arange(rows), bad[kind == 4]]))
    return {name: values[again] for name, values in columns.items()}


def _lines(columns: dict[str, np.ndarray]) -> bytes:
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
