"""The movie model as the platform knows it; see `accident_reco.contract`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from accident_reco.contract import Model, ModelServing, ModelTraining, Task
from accident_reco.models.movies.settings import MovieSettings

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Table

    from accident_reco.contract import Check, FileReport
    from accident_reco.dashboards import Dashboard
    from accident_reco.settings import Settings
    from serving.console.sections import ModelPages


class MovieModel(Model):
    """Recommends movies to a user."""

    name = "movies"
    title = "Movie recommendations"
    description = "Movies that a user would like to watch, from the ratings of all users."
    drift_question = "Have the new ratings moved away from what the movie champion was trained on?"
    task = Task("ranking", "ndcg_at_10", True, ("rmse", "ndcg_at_10", "coverage"), live_metric="rmse")
    settings = MovieSettings
    access: ClassVar = {
        "services": {"ratings": "SELECT, INSERT, UPDATE", "movies": "SELECT", "rating_loads": "SELECT"},
        "reader": dict.fromkeys(("ratings", "movies", "rating_loads", "rating_quarantine", "published_ids"), "SELECT"),
    }

    def tables(self) -> Sequence[Table]:
        from accident_reco.models.movies.data.tables import TABLES

        return TABLES

    def serving(self) -> ModelServing:
        from accident_reco.models.movies.serving.plugin import MovieServing

        return MovieServing()

    def training(self) -> ModelTraining:
        from accident_reco.models.movies.assets.plugin import MovieTraining

        return MovieTraining()

    def dashboards(self) -> Sequence[Dashboard]:
        from accident_reco.models.movies.dashboards import DASHBOARDS

        return DASHBOARDS

    def console(self) -> ModelPages:
        from accident_reco.models.movies.serving.console.pages import PAGES

        return PAGES

    def inspect_files(self, folder: Path) -> Sequence[FileReport]:
        from accident_reco.models.movies.inspection import inspect_folder

        return inspect_folder(folder)

    def check_official(self, settings: Settings) -> Iterator[Check]:
        import time

        from accident_reco.models.movies.data.official_check import check_official
        from accident_reco.models.movies.data.sources import OfficialSource

        dataset = settings.of(MovieSettings).movies_dataset
        return check_official(OfficialSource(dataset), int(time.time()))


MODEL: Final = MovieModel()
