"""The serving half of the movie model, as `accident_reco.contract.ModelServing` describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from accident_reco.contract import ColumnText, ModelServing, NewData, Platform
from accident_reco.models.movies import monitoring

if TYPE_CHECKING:
    from datetime import datetime

    from fastapi import APIRouter

    from accident_reco.drift.window import Labelled, Windows
    from accident_reco.lifecycle.bundle import Manifest
    from accident_reco.lifecycle.reference import ReferenceProfile
    from accident_reco.models.movies.scoring.recommender import Recommender
    from serving.predict.context import Context
    from serving.predict.v2 import InferenceAdapter


class MovieServing(ModelServing):
    """Recommendations for stored users, ratings of a request, and unknown users. Labels come as new ratings."""

    def load(self, files: Mapping[str, bytes], manifest: Manifest) -> Recommender:
        """The recommender, after smoke predictions for an unknown user, one rating, and a user it was trained on."""
        from threadpoolctl import threadpool_limits

        from accident_reco.models.movies.data.history import History
        from accident_reco.models.movies.scoring.recommender import Recommender, RecommendOptions

        # Products of this size finish before a second BLAS thread wakes up; waiting for it costs milliseconds.
        threadpool_limits(1, "blas")
        version = Recommender.from_files(files)
        one = History.from_ratings([int(version.movie_id[int(version.rating_count.argmax())])], [version.high])
        for answer in (
            version.recommend(None, RecommendOptions()),
            version.recommend(None, RecommendOptions(), request_ratings=one),
            version.recommend(int(version.user_id[0]), RecommendOptions()),
        ):
            if not len(answer.movies) or not np.isfinite(answer.movies.score).all():
                raise ValueError(f"the smoke prediction ({answer.reason}) returned no movies: {answer.note}")
        return version

    def routers(self, context: Context) -> Sequence[APIRouter]:
        from accident_reco.models.movies.serving import catalogue, feedback, routes

        return [routes.router(context), catalogue.router(context), feedback.router(context)]

    def inference(self) -> InferenceAdapter:
        from accident_reco.models.movies.serving.tensors import MovieAdapter

        return MovieAdapter()

    def windows(
        self, platform: Platform, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes]
    ) -> Windows | None:
        return monitoring.build_windows(platform, manifest, files)

    def columns(self) -> Mapping[str, ColumnText]:
        return {
            "rating": ColumnText("Stars"),
            "movie_id": ColumnText("Movie id (grows with the time at which a movie was added)"),
            "movie": ColumnText("Movie"),
            "whole_star": ColumnText("Whole stars", {0: "half stars", 1: "whole stars"}),
        }

    def paired_predictions(
        self, platform: Platform, manifests: Sequence[Manifest], since: datetime
    ) -> tuple[Labelled, Labelled]:
        return monitoring.pair_predictions(platform, manifests, since)

    def new_data(self, platform: Platform, manifest: Manifest) -> NewData | str:
        return monitoring.find_new_ratings(platform, manifest)

    def statistics(self, platform: Platform, version: Recommender | None) -> Mapping[str, Any]:
        from accident_reco.models.movies.serving.statistics import compute_statistics

        return compute_statistics(platform, "movies", version)
