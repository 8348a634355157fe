"""What an import would make of a folder with ratings and movies, found out by the code that imports. Stores nothing."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from accident_reco.contract import FileReport
from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.formats import RatingReader, UnknownFormat
from accident_reco.models.movies.data.listing import find_pair, list_near_misses
from accident_reco.models.movies.data.published_ids import PublishedIds
from accident_reco.models.movies.data.quarantine import RatingRules, check_quarantine
from accident_reco.models.movies.data.ratings import Catalogue
from accident_reco.models.movies.data.sources import DirectorySource, FetchedFile, SourceError


def inspect_folder(folder: Path) -> list[FileReport]:
    """A report of the rating file and the movie file, and of files that are nearly so named.

    Raises:
        SourceError: a file cannot be unpacked.
    """
    source = DirectorySource(str(folder))
    paths = source.list_paths()
    near = [
        FileReport(_shorten(path, folder), "no rating or movie file", problem=f"not read: expected is {name}")
        for path, name in list_near_misses(paths).items()
    ]
    if find_pair(paths) is None and not any(path.lower().endswith(".zip") for path in paths):
        return near
    try:
        ratings, movies = source.fetch_ratings(), source.fetch_movies()
    except SourceError:
        return near
    ids = PublishedIds()
    catalogue: Catalogue | None = None
    with movies.stream as stream:
        try:
            catalogue = read_movies(stream.read(), movies.name, ids)
            problem = ""
        except UnknownFormat as error:
            problem = str(error)
    rows = 0 if catalogue is None else len(catalogue)
    layout = ""
    if catalogue is not None:
        layout = "; ".join([f"{sum(map(bool, catalogue.genres)):,} with genres", *catalogue.notes])
    reports = [FileReport(_shorten(movies.url, folder), "movies", layout, rows, {}, problem)]
    with ratings.stream:
        return [_inspect_ratings(_shorten(ratings.url, folder), ratings, catalogue, ids), *reports, *near]


def _shorten(url: str, folder: Path) -> str:
    return url.removeprefix("file://").removeprefix(f"{folder.resolve()}/")


def _inspect_ratings(path: str, file: FetchedFile, catalogue: Catalogue | None, ids: PublishedIds) -> FileReport:
    """The rating file; without a catalogue only its format."""
    try:
        reader = RatingReader(
            file.stream, file.name, movies=ids if catalogue is not None and catalogue.numbered else None
        )
    except UnknownFormat as error:
        return FileReport(path, "ratings", problem=str(error))
    shown = {"\t": "tabs"}.get(reader.format.separator, f"'{reader.format.separator}'")
    layout = f"like {reader.format.name}, separated by {shown}, stars {reader.scale}"
    if catalogue is None:
        return FileReport(path, "ratings", layout, problem="not imported: the movie file cannot be read")
    rules = RatingRules(reader.scale, np.asarray(catalogue.movie_id), int(time.time()))
    rows = malformed = 0
    first: dict[str, str] = {}
    for chunk in reader:
        kept, bad = rules.partition_valid(chunk)
        rows += len(kept)
        for frame in (bad, *reader.malformed):
            for rule, reason in zip(frame["rule"], frame["reason"], strict=True):
                first.setdefault(rule, reason)
        malformed += sum(len(frame) for frame in reader.malformed)
        reader.malformed.clear()
    counts = {**rules.counts, **({"malformed": malformed} if malformed else {})}
    passed, reason = check_quarantine(rows, sum(counts.values()), next(iter(first.values()), ""))
    layout = "; ".join([layout, *reader.notes])
    rejected = {first[rule]: count for rule, count in counts.items()}
    return FileReport(path, "ratings", layout, rows, rejected, "" if passed else reason)
