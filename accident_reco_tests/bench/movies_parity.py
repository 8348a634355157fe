"""Our SVD, KNNBaseline and BaselineOnly against Surprise run directly, on the same folds of a MovieLens directory.

Run: python -m accident_reco_tests.bench.movies_parity DIR
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.candidates.candidate import FitOptions
from accident_reco.models.movies.candidates.knn import KnnOptions
from accident_reco.models.movies.candidates.svd import SvdOptions
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.formats import RatingReader
from accident_reco.models.movies.data.quarantine import RatingRules
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.data.split import SplitOptions, iterate_folds, split
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.training import fitting, metrics
from accident_reco.models.movies.training.arrays import build_arrays
from accident_reco.models.movies.training.candidate_training import TrainingOptions, TrainingRows

KINDS = ("svd", "knn", "baseline")
TOLERANCE = 0.003


def stock(kind: str, options: FitOptions) -> Any:
    """The algorithm as Surprise ships it, with our options."""
    from surprise import SVD, BaselineOnly, KNNBaseline

    if kind == "svd":
        svd = options.of(SvdOptions)
        return SVD(n_factors=svd.factors, n_epochs=svd.epochs, random_state=options.seed)
    if kind == "knn":
        knn = options.of(KnnOptions)
        similarity = {"name": "pearson_baseline", "user_based": False, "shrinkage": knn.shrinkage}
        return KNNBaseline(k=knn.k, min_k=knn.min_k, sim_options=similarity, verbose=False)
    return BaselineOnly(verbose=False)


def both(kind: str, rows: TrainingRows, options: TrainingOptions, fold: int = 0, every: int = 1) -> tuple[float, float]:
    """RMSE of ours and of Surprise on a fold, over every so many of its rows."""
    from surprise import Dataset, Reader, accuracy

    data = IndexedRatings.from_ratings(rows.train)
    train_mask, test_mask = list(iterate_folds(len(data), options.fit.seed))[fold]
    known, judged = rows.train.take(train_mask), rows.train.take(test_mask)
    judged = judged.take(np.arange(0, len(judged), every))
    fitted = fitting.fit(CANDIDATES[kind], data.take(train_mask), rows.scale, options.fit)
    version = Recommender(build_arrays(fitted, rows.catalogue, known, rows.scale, options.popularity))
    with metrics.limit_blas_threads():
        ours = float(np.sqrt(np.mean(metrics.compute_rating_errors(version, known, judged) ** 2)))
    frame = pd.DataFrame({"user": known.user_id, "item": known.movie_id, "rating": known.rating.astype(float)})
    trainset = Dataset.load_from_df(frame, Reader(rating_scale=(rows.scale.low, rows.scale.high))).build_full_trainset()
    testset = list(zip(judged.user_id.tolist(), judged.movie_id.tolist(), judged.rating.tolist(), strict=True))
    theirs = accuracy.rmse(stock(kind, options.fit).fit(trainset).test(testset), verbose=False)
    return ours, float(theirs)


def rows_of(folder: Path) -> TrainingRows:
    """A directory's ratings as a training gets them."""
    catalogue = read_movies((folder / "movies.csv").read_bytes(), "movies.csv")
    reader = RatingReader(io.BytesIO((folder / "ratings.csv").read_bytes()), "ratings.csv")
    rules = RatingRules(reader.scale, catalogue.movie_id, 2**40)
    kept = Ratings.concatenate([rules.partition_valid(chunk)[0] for chunk in reader])
    parts = split(kept, np.zeros(len(kept), dtype=bool), SplitOptions())
    return TrainingRows(parts.train, parts.holdout, catalogue, reader.scale)


def main() -> None:
    """A line per candidate and fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="holds ratings.csv and movies.csv")
    rows, options = rows_of(parser.parse_args().directory), TrainingOptions()
    print(f"{len(rows.train):,} training ratings; RMSE may differ by {TOLERANCE}")
    for kind in KINDS:
        for fold in range(3):
            ours, theirs = both(kind, rows, options, fold)
            print(
                f"{kind:9} fold {fold + 1}   ours {ours:.6f}   Surprise {theirs:.6f}   difference {ours - theirs:+.6f}"
            )


if __name__ == "__main__":
    main()
