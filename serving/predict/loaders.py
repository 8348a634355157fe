"""One loader per model name: verified files to a model that has answered a smoke prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accident_reco.lifecycle.bundle import Manifest
from serving.predict.model_slot import Loader


def load_accidents(files: Mapping[str, bytes], manifest: Manifest) -> Any:
    """The severity scorer; its smoke prediction is a driver of whom only the place is known, and two such.

    A place, since what is looked up around one is made at the first question: before the swap, in no request.
    """
    from accident_reco.models.accidents.scoring.scorer import AccidentScorer

    scorer = AccidentScorer.from_files(files, manifest)
    if not 0.0 <= scorer.threshold <= 1.0:
        raise ValueError(f"threshold {scorer.threshold} is no probability")
    for n in (1, 2):
        answer = scorer.probability({
            "catu": np.full(n, 1, dtype=np.int32), "lat": np.full(n, 46.5), "long": np.full(n, 2.5),
        })  # fmt: skip
        if answer.shape != (n,) or not bool(((answer >= 0) & (answer <= 1)).all()):
            raise ValueError(f"the smoke prediction of {n} record(s) gave no {n} probabilities")
    return scorer


def load_movies(files: Mapping[str, bytes], manifest: Manifest) -> Any:
    """The recommender; its smoke predictions are a stranger, somebody with one rating and a user it was trained on."""
    from threadpoolctl import threadpool_limits

    from accident_reco.models.movies.data.history import History
    from accident_reco.models.movies.scoring.recommender import Recommender, Wishes

    # Products of this size are done before a second BLAS thread has woken up; waiting for it costs milliseconds.
    threadpool_limits(1, "blas")
    version = Recommender.from_files(files, manifest)
    one = History.of([int(version.movie_id[int(version.rating_count.argmax())])], [version.high])
    for answer in (
        version.recommend(None, Wishes()),
        version.recommend(None, Wishes(), given=one),
        version.recommend(int(version.user_id[0]), Wishes()),
    ):
        if not answer.picks or not np.isfinite([pick.score for pick in answer.picks]).all():
            raise ValueError(f"the smoke prediction ({answer.reason}) gave no movies: {answer.note}")
    return version


LOADERS: Mapping[str, Loader[Any]] = {"accidents": load_accidents, "movies": load_movies}
