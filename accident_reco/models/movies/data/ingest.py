"""Imports rating files: read and validated chunk by chunk into Parquet parts, rejected rows to quarantine, then loaded
from the parts into the warehouse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

import numpy as np
import pandas as pd

from accident_reco.models.movies.data import imports, rating_table
from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.formats import RatingReader
from accident_reco.models.movies.data.published_ids import PublishedIds
from accident_reco.models.movies.data.quarantine import RatingRules
from accident_reco.models.movies.data.rating_parts import PartsManifest, PartsWriter, delete_former, iterate_parts
from accident_reco.models.movies.data.ratings import Catalogue
from accident_reco.storage.objects import ObjectStore
from accident_reco.storage.warehouse import Warehouse

MAX_KEPT = 100_000
"""Quarantine rows stored per import; a file that is wrong throughout fails anyway, and its first rows show why."""

MAX_EXAMPLES = 5
"""Reasons shown per import."""


@dataclass
class ImportResult:
    """Result of an import; `fresh` is False when the same files were imported before."""

    load_id: int
    rows: int
    quarantined: int
    movies: int
    fresh: bool
    by_rule: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SourceFile:
    """A ratings or movies file as fetched: its published name, digest, and a way to read it from the start."""

    name: str
    sha256: str
    open: Callable[[], IO[bytes]]


def import_files(
    warehouse: Warehouse,
    store: ObjectStore,
    ratings: SourceFile,
    movies: SourceFile,
    data_source: str,
    now: int,
    progress: Callable[[int], None] | None = None,
) -> ImportResult:
    """Replace the imported ratings and movies of the warehouse by those of the files, all at once at the end.

    The ratings are also written as Parquet parts, which count from the same moment on. Importing the same files again
    is a no-op.

    Args:
        now: seconds UTC; later ratings go to quarantine.
        progress: called with the rows read so far after every chunk.

    Raises:
        ValueError: no row is valid; nothing was replaced.
        UnknownFormat: a file is in none of the published formats.
        ImportInterrupted: another import was started meanwhile; nothing was replaced.
    """
    users, titles = (PublishedIds(imports.read_published_ids(warehouse, kind)) for kind in ("user", "movie"))
    with movies.open() as stream:
        catalogue = read_movies(stream.read(), movies.name, titles)
    before = imports.find_finished_load(warehouse, ratings.sha256, movies.sha256, data_source)
    if before is not None:
        summary = imports.summarize_quarantine(warehouse, before.load_id, MAX_EXAMPLES)
        stored = ImportResult(before.load_id, before.rows, before.quarantined, len(catalogue), False, *summary)
        stored.notes = list(catalogue.notes)
        return stored
    load_id = imports.start_load(warehouse, ratings.sha256, movies.sha256, data_source)
    found = write_parts(warehouse, store, load_id, ratings, catalogue, users, titles, now, progress)
    rows, rejected, manifest = found.manifest.rows, found.quarantined, found.manifest
    if rows == 0:
        raise ValueError(
            f"{ratings.name}: no valid rating among {rejected} rows, so nothing was replaced"
            + (f"; first: {found.examples[0]}" if found.examples else "")
        )
    known = set(catalogue.movie_id.tolist())
    fresh = {published: number for published, number in titles.take_fresh().items() if number in known}
    imports.write_published_ids(warehouse, "movie", fresh)
    rating_table.prepare(warehouse, load_id, iterate_parts(store, manifest))
    parts = iterate_parts(store, manifest)
    imports.finish_load(warehouse, load_id, catalogue.to_frame(), parts, rows=rows, quarantined=rejected)
    delete_former(store, manifest)
    notes = [*catalogue.notes, *found.notes]
    return ImportResult(load_id, rows, rejected, len(catalogue), True, found.by_rule, found.examples, notes)


@dataclass(frozen=True)
class WrittenParts:
    """A rating file as parts, and what is not in them: number of quarantined rows, also by rule, and first reasons."""

    manifest: PartsManifest
    quarantined: int
    by_rule: dict[str, int]
    examples: list[str]
    notes: list[str]


def write_parts(
    warehouse: Warehouse,
    store: ObjectStore,
    load_id: int,
    ratings: SourceFile,
    catalogue: Catalogue,
    users: PublishedIds,
    titles: PublishedIds,
    now: int,
    progress: Callable[[int], None] | None = None,
) -> WrittenParts:
    """Write the valid rows of a rating file as Parquet parts, and the others to quarantine. See `import_files`."""
    parts = PartsWriter(store, load_id, ratings.sha256)
    rows = rejected = 0
    examples: list[str] = []

    def quarantine(frame: pd.DataFrame) -> None:
        nonlocal rejected
        imports.write_quarantine(warehouse, load_id, frame.iloc[: max(0, MAX_KEPT - rejected)])
        examples.extend(frame["reason"].iloc[: MAX_EXAMPLES - len(examples)])
        rejected += len(frame)

    with ratings.open() as stream:
        reader = RatingReader(stream, ratings.name, users=users, movies=titles if catalogue.numbered else None)
        rules = RatingRules(reader.scale, np.asarray(catalogue.movie_id), now)
        for chunk in reader:
            kept, bad = rules.partition_valid(chunk)
            imports.write_published_ids(warehouse, "user", users.take_fresh())
            parts.add(kept)
            for frame in [bad, *reader.malformed]:
                quarantine(frame)
            reader.malformed.clear()
            rows += len(kept)
            if progress is not None:
                progress(rows + rejected)
    counts = dict(rules.counts)
    if rejected > sum(counts.values()):
        counts["malformed"] = rejected - sum(counts.values())
    return WrittenParts(parts.finish(), rejected, counts, examples, reader.notes)
