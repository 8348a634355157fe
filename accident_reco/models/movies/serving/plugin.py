"""The serving half of the movie model, as `accident_reco.contract.ModelServing` describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from accident_reco.contract import ModelServing, NewData, Platform
from accident_reco.models.movies import monitoring

if TYPE_CHECKING:
    from fastapi import APIRouter

    from accident_reco.drift.window import Windows
    from accident_reco.lifecycle.bundle import Manifest
    from accident_reco.lifecycle.reference import ReferenceProfile
    from accident_reco.models.movies.scoring.recommender import Recommender
    from serving.predict.context import Context
    from serving.predict.v2 import InferenceAdapter


class MovieServing(ModelServing):
    """Recommendations for stored users, for ratings in the request, and for unknown users. Labels are new ratings."""

    def load(self, files: Mapping[str, bytes], manifest: Manifest) -> Recommender:
        """The recommender, after smoke predictions for an unknown user, one rating, and a user it was trained on."""
        from threadpoolctl import threadpool_limits

        from accident_reco.models.movies.data.history import History
        from accident_reco.models.movies.scoring.recommender import Recommender, RecommendOptions

        # Products of this size are done before a second BLAS thread has woken up; waiting for it costs milliseconds.
        threadpool_limits(1, "blas")
        version = Recommender.from_files(files, manifest)
        one = History.of([int(version.movie_id[int(version.rating_count.argmax())])], [version.high])
        for answer in (
            version.recommend(None, RecommendOptions()),
            version.recommend(None, RecommendOptions(), given=one),
            version.recommend(int(version.user_id[0]), RecommendOptions()),
        ):
            if not answer.picks or not np.isfinite([pick.score for pick in answer.picks]).all():
                raise ValueError(f"the smoke prediction ({answer.reason}) returned no movies: {answer.note}")
        return version

    def routers(self, context: Context) -> Sequence[APIRouter]:
        from accident_reco.models.movies.serving import feedback, routes

        return [routes.router(context), feedback.router(context)]

    def inference(self) -> InferenceAdapter:
        from accident_reco.models.movies.serving.tensors import MovieAdapter

        return MovieAdapter()

    def windows(
        self, platform: Platform, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes]
    ) -> Windows | None:
        return monitoring.rating_windows(platform, manifest, files)

    def new_data(self, platform: Platform, manifest: Manifest) -> NewData | str:
        return monitoring.new_ratings(platform, manifest)
