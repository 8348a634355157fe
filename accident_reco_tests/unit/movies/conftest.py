"""Rows shared by the movie tests: the real small set, read once, and a made-up one that is always there."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from accident_reco.models.movies.data.formats import RatingReader, read_movies
from accident_reco.models.movies.data.quarantine import RatingRules
from accident_reco.models.movies.data.ratings import Catalogue, Ratings
from accident_reco.models.movies.data.sample import SampleSpec, movies_csv, ratings_csv
from accident_reco.models.movies.data.split import SplitOptions, split
from accident_reco.models.movies.training.candidates import Options, Rows
from accident_reco.models.movies.training.fitting import ModelOptions

NOW = 1_790_000_000


def read(ratings: bytes, movies: bytes) -> tuple[Ratings, Catalogue, RatingReader]:
    """Files to kept ratings and catalogue."""
    catalogue = read_movies(movies, "movies.csv")
    reader = RatingReader(io.BytesIO(ratings), "ratings.csv")
    rules = RatingRules(reader.scale, catalogue.movie_id, NOW)
    return Ratings.concatenate([rules.sift(chunk)[0] for chunk in reader]), catalogue, reader


def rows_of(ratings: bytes, movies: bytes) -> Rows:
    """Files to what candidates are trained on."""
    kept, catalogue, reader = read(ratings, movies)
    parts = split(kept, np.zeros(len(kept), dtype=bool), SplitOptions())
    return Rows(parts.train, parts.holdout, catalogue, reader.scale)


@pytest.fixture(scope="session")
def real_rows(movielens_dir: Path) -> Rows:
    """ml-latest-small, split (skips where absent)."""
    return rows_of((movielens_dir / "ratings.csv").read_bytes(), (movielens_dir / "movies.csv").read_bytes())


@pytest.fixture(scope="session")
def sample_rows() -> Rows:
    """A small made-up set, split."""
    spec = SampleSpec(ratings=12_000, seed=3)
    return rows_of(b"".join(ratings_csv(spec)), movies_csv(spec))


@pytest.fixture(scope="session")
def options() -> Options:
    """Smaller models than the platform's, for speed."""
    return Options(ModelOptions(seed=1, svd_factors=40, svd_epochs=12, als_factors=24, als_iterations=8))
