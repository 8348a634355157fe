"""Compares what GroupLens answers with what this release expects of it; for a person with internet access."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from accident_reco.contract import Check
from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.formats import RatingReader, UnknownFormat
from accident_reco.models.movies.data.quarantine import RatingRules, check_quarantine
from accident_reco.models.movies.data.sources import OfficialSource, SourceError


def check_official(source: OfficialSource, now: int) -> Iterator[Check]:
    """One outcome per expectation: checksum, zip, movies, ratings. `now` in seconds UTC."""
    try:
        md5 = source.compute_fingerprint()
    except SourceError as error:
        yield Check("checksum", False, str(error))
        return
    reason = f"{source.url}.md5 is {md5}" if md5 else f"no md5 is published for {source.url}"
    yield Check("checksum", bool(md5) or "latest" in source.url, reason, warn=True)
    try:
        ratings, movies = source.fetch_ratings(), source.fetch_movies()
    except SourceError as error:
        yield Check("zip", False, str(error))
        return
    finally:
        source.close()
    yield Check("zip", True, f"{ratings.url} and {movies.url}, {ratings.size + movies.size:,} bytes; {ratings.note}")
    with ratings.stream, movies.stream as stream:
        try:
            catalogue = read_movies(stream.read(), movies.name)
            reader = RatingReader(ratings.stream, ratings.name)
        except UnknownFormat as error:
            yield Check("formats", False, str(error))
            return
        notes = "".join(f"; {note}" for note in catalogue.notes)
        yield Check(
            "movies", not notes, f"{len(catalogue):,} movies, {sum(map(bool, catalogue.genres)):,} with genres{notes}"
        )
        rules = RatingRules(reader.scale, np.asarray(catalogue.movie_id), now)
        rows = refused = 0
        first = ""
        for chunk in reader:
            kept, bad = rules.partition_valid(chunk)
            rows, refused = rows + len(kept), refused + len(bad)
            first = first or next(iter(bad["reason"]), "")
        passed, reason = check_quarantine(rows, refused, first)
        yield Check("ratings", passed, f"{rows:,} ratings, stars {reader.scale}: {reason}")
