"""Sensor of accident data: it ingests new or corrected years."""

import time
from urllib.parse import urlsplit

import dagster as dg

from accident_reco.defs.resources import Platform
from accident_reco.defs.run_logs import sensor_log
from accident_reco.defs.tags import REASON_TAG
from accident_reco.models.accidents.assets.partitions import YEARS, find_unregistered_years
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
    def accident_source(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        """One run per changed year and version of its files: a failed year is retried only when its files change."""
        name = platform.settings.of(AccidentSettings).accidents_source
        remote = name == "official" or urlsplit(name).scheme not in ("", "file")
        if remote and context.cursor and time.time() - float(context.cursor) < MIN_REMOTE_SECONDS:
            return dg.SkipReason(f"{name} was checked less than an hour ago")
        context.update_cursor(str(time.time()))
        try:
            source = open_source(platform.settings.of(AccidentSettings), quick=True)
            changed, offered = find_changed_years(platform.objects, source), source.years()
        except SourceError as error:
            return dg.SkipReason(str(error))
        requests = []
        for change in changed:
            why = f"the year {change.year} of the source is {change.kind}"
            sensor_log(context).info("%s", why)
            tags = {"accident_year": change.kind, REASON_TAG: why}
            requests.append(dg.RunRequest(run_key=change.key, partition_key=str(change.year), tags=tags))
        unregistered = find_unregistered_years(context.instance, offered)
        return dg.SensorResult(
            run_requests=requests or None,
            skip_reason=None if changed else "every year that the source offers is stored in its current version",
            dynamic_partitions_requests=[YEARS.build_add_request(unregistered)] if unregistered else None,
        )

    return accident_source
