"""Sensor of movie data: it ingests new files of the source."""

import time
from contextlib import closing
from urllib.parse import urlsplit

import dagster as dg

from accident_reco.defs.resources import Platform
from accident_reco.defs.tags import REASON_TAG
from accident_reco.models.movies.data.sources import SourceError, open_source
from accident_reco.models.movies.data.watch import find_change
from accident_reco.models.movies.settings import MovieSettings

# Minimum time between requests to a publisher's server; local files are checked at every tick.
MIN_REMOTE_SECONDS = 3600


def build_source_sensor(settings: MovieSettings) -> dg.SensorDefinition:
    """The sensor `movie_source`, which requests runs of `ingest_movies`."""

    @dg.sensor(
        job_name="ingest_movies",
        name="movie_source",
        minimum_interval_seconds=settings.movies_watch_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ingests files that the source offers and the store does not hold.",
    )
    def movie_source(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
        """One run per version of the files: files that cannot be read are not tried again until they change."""
        own = platform.settings.of(MovieSettings)
        remote = own.movies_source == "official" or urlsplit(own.movies_source).scheme not in ("", "file")
        if remote and context.cursor and time.time() - float(context.cursor) < MIN_REMOTE_SECONDS:
            return dg.SkipReason(f"{own.movies_source} was checked less than an hour ago")
        context.update_cursor(str(time.time()))
        try:
            with closing(open_source(own)) as source:
                key = find_change(platform.objects, source)
        except SourceError as error:
            return dg.SkipReason(str(error))
        if key is None:
            return dg.SkipReason("the files that the source offers are stored")
        return dg.RunRequest(run_key=key, tags={REASON_TAG: "the source offers other files than those that are stored"})

    return movie_source
