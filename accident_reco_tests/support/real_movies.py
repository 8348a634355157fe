"""A real movie model, fitted in a second on the generated sample."""

from __future__ import annotations

import io

import numpy as np

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.movies.candidates.candidate import FitOptions
from accident_reco.models.movies.candidates.svd import SvdOptions
from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.formats import RatingReader
from accident_reco.models.movies.data.quarantine import RatingRules
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.data.sample import SampleSpec, generate_movies_csv, generate_ratings_csv
from accident_reco.models.movies.data.split import SplitOptions, split
from accident_reco.models.movies.training.candidate_training import TrainingOptions, TrainingRows, train_candidate

NOW = 1_790_000_000
MARKUP_TITLE = "<b id=x>Garden</b> & <img src=x onerror=alert(1)> (2017)"
"""Title of movie 1: pages must show it as text."""


def movies_csv(spec: SampleSpec) -> bytes:
    """The sample's catalogue, with one title that has markup."""
    return generate_movies_csv(spec).replace(b"\n1,Gentle Garden (2017),", f"\n1,{MARKUP_TITLE},".encode())


def movie_bundle(ratings: int = 6_000) -> Bundle:
    """A bundle as a training run builds it."""
    spec = SampleSpec(ratings=ratings, seed=3)
    catalogue = read_movies(movies_csv(spec), "movies.csv")
    reader = RatingReader(io.BytesIO(b"".join(generate_ratings_csv(spec))), "ratings.csv")
    rules = RatingRules(reader.scale, catalogue.movie_id, NOW)
    kept = Ratings.concatenate([rules.partition_valid(chunk)[0] for chunk in reader])
    parts = split(kept, np.zeros(len(kept), dtype=bool), SplitOptions())
    rows = TrainingRows(parts.train, parts.holdout, catalogue, reader.scale)
    options = TrainingOptions(FitOptions(seed=1, hyperparameters=(SvdOptions(factors=8, epochs=3),)))
    return train_candidate("svd", rows, options, {"data_source": "sample", "sources": []}).bundle
