"""Sensors that follow accident data: a new or corrected year is ingested, ingested years reach the warehouse."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import dagster as dg

from accident_reco.defs.resources import Platform
from accident_reco.models.accidents.assets.partitions import years
from accident_reco.models.accidents.data.queries import loaded_years
from accident_reco.models.accidents.data.watch import changed_years, warehouse_news
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.sources import SourceError, open_source

# A publisher's server is asked once an hour; files beside us at every tick.
REMOTE_SECONDS = 3600


def source_sensor(settings: AccidentSettings) -> dg.SensorDefinition:
    """What the source offers."""

    @dg.sensor(
        job_name="ingest_accidents",  # by name: where its steps run is decided where everything is put together
        name="accident_source",
        minimum_interval_seconds=settings.accidents_watch_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ingests a year that the source offers and the store does not hold, or holds in an older version.",
    )
    def accident_source(
        context: dg.SensorEvaluationContext, platform: Platform
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        """One run per changed year, once per version of its files: a bad year is not tried again until it changes."""
        name = platform.settings.of(AccidentSettings).accidents_source
        remote = name == "official" or urlsplit(name).scheme not in ("", "file")
        if remote and context.cursor and time.time() - float(context.cursor) < REMOTE_SECONDS:
            yield dg.SkipReason(f"{name} was asked less than an hour ago")
            return
        context.update_cursor(str(time.time()))
        try:
            changed = changed_years(platform.objects, open_source(platform.settings.of(AccidentSettings), hurry=True))
        except SourceError as error:
            yield dg.SkipReason(str(error))
            return
        known = set(years.get_partition_keys())
        for change in changed:
            if str(change.year) not in known:
                context.log.info("%s is not over yet and has no partition", change.year)
                continue
            context.log.info("%s is %s", change.year, change.what)
            yield dg.RunRequest(run_key=change.key, partition_key=str(change.year), tags={"accident_year": change.what})
        if not changed:
            yield dg.SkipReason("every year that the source offers is stored in its current version")

    return accident_source


def warehouse_sensor(settings: AccidentSettings) -> dg.SensorDefinition:
    """What the warehouse lacks."""

    @dg.sensor(
        job_name="load_accidents",
        name="accident_warehouse",
        minimum_interval_seconds=settings.accidents_watch_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Loads ingested years into the warehouse when they differ from what it holds.",
    )
    def accident_warehouse(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
        """One run per content of the stored years; the load itself touches only the years that differ."""
        source = open_source(platform.settings.of(AccidentSettings))
        waiting, key = warehouse_news(platform.objects, source.data_source, loaded_years(platform.warehouse))
        if not waiting:
            return dg.SkipReason("the warehouse holds the stored years")
        context.log.info("waiting for the warehouse: %s", waiting)
        return dg.RunRequest(run_key=key)

    return accident_warehouse
