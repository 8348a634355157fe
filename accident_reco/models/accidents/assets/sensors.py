"""Sensor of accident data: it ingests new or corrected years."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import dagster as dg

from accident_reco.defs.resources import Platform
from accident_reco.defs.run_logs import sensor_log
from accident_reco.defs.tags import REASON_TAG
from accident_reco.models.accidents.assets.partitions import years
from accident_reco.models.accidents.data.watch import find_changed_years
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.sources import SourceError, open_source

# Minimum time between requests to a publisher's server; local files are checked at every tick.
MIN_REMOTE_SECONDS = 3600


def build_source_sensor(settings: AccidentSettings) -> dg.SensorDefinition:
    """The sensor `accident_source`, which requests runs of `ingest_accidents`."""

    @dg.sensor(
        job_name="ingest_accidents",  # by name: `definitions` chooses the executor of the job
        name="accident_source",
        minimum_interval_seconds=settings.accidents_watch_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ingests a year that the source offers and the store does not hold, or holds in an older version.",
    )
    def accident_source(
        context: dg.SensorEvaluationContext, platform: Platform
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """One run per changed year and version of its files: a failed year is retried only when its files change."""
        name = platform.settings.of(AccidentSettings).accidents_source
        remote = name == "official" or urlsplit(name).scheme not in ("", "file")
        if remote and context.cursor and time.time() - float(context.cursor) < MIN_REMOTE_SECONDS:
            yield dg.SkipReason(f"{name} was checked less than an hour ago")
            return
        context.update_cursor(str(time.time()))
        try:
            changed = find_changed_years(
                platform.objects, open_source(platform.settings.of(AccidentSettings), quick=True)
            )
        except SourceError as error:
            yield dg.SkipReason(str(error))
            return
        known = set(years.get_partition_keys())
        for change in changed:
            if str(change.year) not in known:
                sensor_log(context).info("%s is not over yet and has no partition", change.year)
                continue
            why = f"the year {change.year} of the source is {change.kind}"
            sensor_log(context).info("%s", why)
            yield dg.RunRequest(
                run_key=change.key, partition_key=str(change.year), tags={"accident_year": change.kind, REASON_TAG: why}
            )
        if not changed:
            yield dg.SkipReason("every year that the source offers is stored in its current version")

    return accident_source
