"""A real movie model, fitted in a second on the generated sample."""

from __future__ import annotations

import io

import numpy as np

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.movies.data.formats import RatingReader, read_movies
from accident_reco.models.movies.data.quarantine import RatingRules
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.data.sample import SampleSpec, movies_csv, ratings_csv
from accident_reco.models.movies.data.split import SplitOptions, split
from accident_reco.models.movies.training.candidates import Options, Rows, train_candidate
from accident_reco.models.movies.training.fitting import ModelOptions

NOW = 1_790_000_000


def movie_bundle(ratings: int = 6_000) -> Bundle:
    """A bundle as a training run makes it."""
    spec = SampleSpec(ratings=ratings, seed=3)
    catalogue = read_movies(movies_csv(spec), "movies.csv")
    reader = RatingReader(io.BytesIO(b"".join(ratings_csv(spec))), "ratings.csv")
    rules = RatingRules(reader.scale, catalogue.movie_id, NOW)
    kept = Ratings.concatenate([rules.sift(chunk)[0] for chunk in reader])
    parts = split(kept, np.zeros(len(kept), dtype=bool), SplitOptions())
    rows = Rows(parts.train, parts.holdout, catalogue, reader.scale)
    options = Options(ModelOptions(seed=1, svd_factors=8, svd_epochs=3, als_factors=8, als_iterations=3))
    return train_candidate("svd", rows, options, {"data_source": "sample", "sources": []}).bundle
