"""Quality of a version by k-fold cross-validation of a MovieLens directory; every fold chooses on its training rows.

Run: python -m accident_reco_tests.bench.movies_quality DIR [--folds 5] [--ranking KIND] [--stars KIND]

For a set that no choice was made on. The frozen holdout of the pipeline is another: its figures are in the model card.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np

from accident_reco.lifecycle.holdout import hash_pairs
from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.candidates.candidate import FitOptions
from accident_reco.models.movies.candidates.heads import compose_arrays
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.formats import RatingReader
from accident_reco.models.movies.data.quarantine import RatingRules
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.data.split import SplitOptions, mask_k_core
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.training import candidate_training, fitting
from accident_reco.models.movies.training.arrays import build_arrays
from accident_reco.models.movies.training.candidate_training import TrainingOptions, TrainingRows

SALT = 0x00F0_1D5A
FILES = (("ratings.csv", "movies.csv"), ("u.data", "u.item"), ("ratings.dat", "movies.dat"))
SHOWN = ("ndcg_at_10", "popularity_ndcg_at_10", "recall_at_10", "coverage", "novelty", "rmse", "mae")


def read_folds(folder: Path, count: int) -> list[TrainingRows]:
    """Training and held-out rows of each fold, by hash of user and movie; the training rows filtered as always."""
    ratings, movies = next(names for names in FILES if (folder / names[0]).exists())
    catalogue = read_movies((folder / movies).read_bytes(), movies)
    reader = RatingReader(io.BytesIO((folder / ratings).read_bytes()), ratings)
    rules = RatingRules(reader.scale, catalogue.movie_id, 2**40)
    kept = Ratings.concatenate([rules.partition_valid(chunk)[0] for chunk in reader]).sort_by_user()
    fold = hash_pairs(kept.user_id, kept.movie_id, SALT) % np.uint64(count)
    parts, least = [], SplitOptions()
    for number in range(count):
        known = kept.take(fold != number)
        known = known.take(mask_k_core(known, least.min_user_ratings, least.min_movie_ratings))
        parts.append(TrainingRows(known, kept.take(fold == number), catalogue, reader.scale))
    return parts


def measure(rows: TrainingRows, ranking: str, stars: str, options: TrainingOptions) -> dict[str, float]:
    """Metrics of a version of two kinds on the held-out rows of a fold."""
    data, arrays = IndexedRatings.from_ratings(rows.train), {}
    for kind in {ranking, stars}:
        model = fitting.fit(CANDIDATES[kind], data, rows.scale, options.fit)
        arrays[kind] = build_arrays(model, rows.catalogue, rows.train, rows.scale, options.popularity)
    version = Recommender(compose_arrays(arrays[ranking], arrays[stars]))
    return candidate_training.evaluate_with_audience(version, rows.train, rows.holdout, options)


def main() -> None:
    """A line per fold, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="a published MovieLens set")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--ranking", default="hybrid", choices=CANDIDATES)
    parser.add_argument("--stars", default="stack", choices=CANDIDATES)
    arguments = parser.parse_args()
    options, found = TrainingOptions(FitOptions()), []
    for number, rows in enumerate(read_folds(arguments.directory, arguments.folds), 1):
        found.append(measure(rows, arguments.ranking, arguments.stars, options))
        shown = "  ".join(f"{name} {found[-1][name]:.4f}" for name in SHOWN)
        print(f"fold {number}: {len(rows.train):,} training ratings  {shown}", flush=True)
    means = "  ".join(f"{name} {np.mean([one[name] for one in found]):.4f}" for name in SHOWN)
    print(f"mean of {len(found)}, {arguments.ranking} + {arguments.stars}: {means}")


if __name__ == "__main__":
    main()
