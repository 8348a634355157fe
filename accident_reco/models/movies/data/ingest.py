"""Brings rating files into the warehouse: read, sifted, written chunk by chunk, refused rows kept with their reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

import numpy as np
import pandas as pd

from accident_reco.models.movies.data import imports as storage
from accident_reco.models.movies.data.formats import RatingReader, read_movies
from accident_reco.models.movies.data.quarantine import RatingRules
from accident_reco.storage.warehouse import Warehouse

MAX_KEPT_REFUSALS = 100_000
"""Refused rows kept one by one; a file that is wrong throughout fails anyway, and its first rows say why."""

EXAMPLES = 5
"""Reasons shown of an import."""


@dataclass
class Imported:
    """What an import did."""

    load_id: int
    rows: int
    quarantined: int
    movies: int
    fresh: bool
    by_rule: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RatingFile:
    """A ratings or movies file as fetched: its published name, digest, and a way to read it from the start."""

    name: str
    sha256: str
    open: Callable[[], IO[bytes]]


def import_files(
    warehouse: Warehouse,
    ratings: RatingFile,
    movies: RatingFile,
    data_source: str,
    now: int,
    progress: Callable[[int], None] | None = None,
) -> Imported:
    """Make the warehouse hold these files' ratings and movies. The same files again change nothing.

    Args:
        now: seconds UTC; later ratings are refused.
        progress: told the rows read so far after every chunk.
    """
    with movies.open() as stream:
        catalogue = read_movies(stream.read(), movies.name)
    before = storage.finished_load(warehouse, ratings.sha256, movies.sha256, data_source)
    if before is not None:
        told = storage.quarantined(warehouse, before.load_id, EXAMPLES)
        return Imported(before.load_id, before.rows, before.quarantined, len(catalogue), False, *told)
    load_id = storage.start_load(warehouse, ratings.sha256, movies.sha256, data_source)
    rows = refused = 0
    examples: list[str] = []

    def refuse(frame: pd.DataFrame) -> None:
        nonlocal refused
        storage.write_quarantine(warehouse, load_id, frame.iloc[: max(0, MAX_KEPT_REFUSALS - refused)])
        examples.extend(frame["reason"].iloc[: EXAMPLES - len(examples)])
        refused += len(frame)

    with ratings.open() as stream:
        reader = RatingReader(stream, ratings.name)
        rules = RatingRules(reader.scale, np.asarray(catalogue.movie_id), now)
        for chunk in reader:
            kept, bad = rules.sift(chunk)
            columns = {
                "user_id": kept.user_id, "movie_id": kept.movie_id, "rating": kept.rating, "rated_at": kept.rated_at,
            }  # fmt: skip
            storage.write_ratings(warehouse, load_id, columns)
            for frame in [bad, *reader.malformed]:
                refuse(frame)
            reader.malformed.clear()
            rows += len(kept)
            if progress is not None:
                progress(rows + refused)
    if rows == 0:
        raise ValueError(
            f"{ratings.name}: no usable rating among {refused} rows, so nothing was replaced"
            + (f"; first: {examples[0]}" if examples else "")
        )
    storage.write_movies(warehouse, load_id, catalogue.frame())
    done = storage.finish_load(warehouse, load_id, rows, refused)
    counts = dict(rules.counts)
    if refused > sum(counts.values()):
        counts["malformed"] = refused - sum(counts.values())
    return Imported(done.load_id, rows, refused, len(catalogue), True, counts, examples)
