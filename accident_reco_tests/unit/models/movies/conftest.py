"""Rows shared by the movie tests: the real small set, read once, and a generated one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from accident_reco.models.movies.candidates.als import AlsOptions
from accident_reco.models.movies.candidates.candidate import FitOptions
from accident_reco.models.movies.candidates.ease import EaseOptions
from accident_reco.models.movies.candidates.slim import SlimOptions
from accident_reco.models.movies.candidates.stack import StackOptions
from accident_reco.models.movies.candidates.svd import SvdOptions
from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.formats import RatingReader
from accident_reco.models.movies.data.quarantine import RatingRules
from accident_reco.models.movies.data.ratings import Catalogue, Ratings
from accident_reco.models.movies.data.sample import SampleSpec, generate_movies_csv, generate_ratings_csv
from accident_reco.models.movies.data.split import SplitOptions, split
from accident_reco.models.movies.training.candidate_training import TrainingOptions, TrainingRows

NOW = 1_790_000_000


def read(ratings: bytes, movies: bytes) -> tuple[Ratings, Catalogue, RatingReader]:
    """Valid ratings and catalogue of the files, and the reader."""
    catalogue = read_movies(movies, "movies.csv")
    reader = RatingReader(io.BytesIO(ratings), "ratings.csv")
    rules = RatingRules(reader.scale, catalogue.movie_id, NOW)
    return Ratings.concatenate([rules.partition_valid(chunk)[0] for chunk in reader]), catalogue, reader


def build_rows(ratings: bytes, movies: bytes) -> TrainingRows:
    """Training and holdout rows of the files."""
    kept, catalogue, reader = read(ratings, movies)
    parts = split(kept, np.zeros(len(kept), dtype=bool), SplitOptions())
    return TrainingRows(parts.train, parts.holdout, catalogue, reader.scale)


@pytest.fixture(scope="session")
def real_rows(movielens_dir: Path) -> TrainingRows:
    """ml-latest-small, split (skips where absent)."""
    return build_rows((movielens_dir / "ratings.csv").read_bytes(), (movielens_dir / "movies.csv").read_bytes())


@pytest.fixture(scope="session")
def sample_rows() -> TrainingRows:
    """A small generated set, split."""
    spec = SampleSpec(ratings=12_000, seed=3)
    return build_rows(b"".join(generate_ratings_csv(spec)), generate_movies_csv(spec))


EASE = EaseOptions(damping=(0.0,), regularization=(60.0, 200.0))
SLIM = SlimOptions(penalties=((0.3, 40.0),), neighbours=30)


@pytest.fixture(scope="session")
def options() -> TrainingOptions:
    """Smaller models than the platform's, for speed."""
    return TrainingOptions(
        FitOptions(
            seed=1, hyperparameters=(SvdOptions(40, 12), AlsOptions(24, 8, tuning=()), StackOptions(16, 12), EASE, SLIM)
        )
    )
