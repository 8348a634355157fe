"""Materializes what is not there yet, with progress on the terminal: `python -m accident_reco.defs.pipeline`.

Runs the platform's own jobs in this process, on the Dagster instance of the home, so that the UI shows every run.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator

import dagster as dg

from accident_reco.definitions import defs, platform
from accident_reco.defs.partitions import years
from accident_reco.defs.progress import Step, run_step
from accident_reco.lifecycle.store import ModelStore

VICTIMS = dg.AssetKey(["accidents", "victims"])
SCORED = dg.AssetKey(["accidents", "scored_victims"])
RATINGS = dg.AssetKey(["movies", "raw_ratings"])


def ranges(found: Iterable[str]) -> list[tuple[str, str]]:
    """Runs of consecutive years, as (first, last): one run of a job serves a range."""
    spans: list[tuple[str, str]] = []
    for year in sorted(found):
        if spans and int(year) == int(spans[-1][1]) + 1:
            spans[-1] = (spans[-1][0], year)
        else:
            spans.append((year, year))
    return spans


def missing_steps(instance: dg.DagsterInstance, models: ModelStore) -> Iterator[Step]:
    """What to run, in order; each step is decided when the one before it is done."""
    yield from _missing_accidents(instance, models)
    yield from _missing_movies(instance, models)


def _missing_accidents(instance: dg.DagsterInstance, models: ModelStore) -> Iterator[Step]:
    from accident_reco.models.accidents.sources import open_source

    settings = platform.settings
    source = open_source(settings)
    offered = {str(year) for year in source.years()}
    absent = offered - _years_from(instance, VICTIMS, source.data_source)
    for first, last in ranges(absent):
        yield Step("ingest_accidents", f"not read from {source.data_source} data yet", first, last)
    if absent:
        yield Step("load_accidents", "new years were ingested")
    why = _why_train(models, "accidents", source.data_source)
    if why or absent:
        yield Step("train_accidents", why or "new years were ingested")
    champion = models.pointer("accidents")
    version = champion.version if champion else ""
    for first, last in ranges(offered - _years_with(instance, SCORED, "version", version)):
        yield Step("score_accidents", "not scored by the champion yet", first, last)
    if not instance.get_latest_materialization_event(dg.AssetKey(["accidents", "drift_report"])):
        yield Step("report_accidents_drift", "no report yet")


def _missing_movies(instance: dg.DagsterInstance, models: ModelStore) -> Iterator[Step]:
    from accident_reco.models.movies.data import raw_store
    from accident_reco.models.movies.data.sources import open_source
    from accident_reco.models.movies.training import assembly

    settings, objects = platform.settings, platform.objects
    source, before = open_source(settings), raw_store.raw_record(objects, "raw_ratings")
    here = instance.get_latest_materialization_event(RATINGS) and raw_store.stored_from(objects, source)
    if not here or not assembly.imported(objects, platform.warehouse):
        named = f" ({settings.movies_source})" if source.data_source == "directory" else ""
        yield Step("ingest_movies", f"not read from {source.data_source} data{named} yet")
    stored = raw_store.raw_record(objects, "raw_ratings")
    fresh = stored and before and stored.sha256 != before.sha256
    why = _why_train(models, "movies", source.data_source)
    if why or fresh:
        yield Step("train_movies", why or "new ratings were ingested")
    if not instance.get_latest_materialization_event(dg.AssetKey(["movies", "drift_report"])):
        yield Step("report_movies_drift", "no report yet")


def _why_train(models: ModelStore, model: str, data_source: str) -> str | None:
    champion = models.champion(model)
    if champion is None:
        return "no version serves yet"
    trained_on = champion[1].data_source
    return None if trained_on == data_source else f"the champion was trained on {trained_on} data"


def _years_from(instance: dg.DagsterInstance, asset: dg.AssetKey, data_source: str) -> set[str]:
    return _years_with(instance, asset, "data_source", data_source)


def _years_with(instance: dg.DagsterInstance, asset: dg.AssetKey, field: str, value: str) -> set[str]:
    """Years whose latest materialization says `value` in its metadata."""
    found = set()
    known = set(years.get_partition_keys())
    for year in known & instance.get_materialized_partitions(asset):
        query = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[year])
        records = instance.fetch_materializations(query, limit=1).records
        made = records[0].asset_materialization if records else None
        told = made.metadata.get(field) if made else None
        if told is not None and told.value == value:
            found.add(year)
    return found


def main() -> int:
    """Bring the instance up to date, then run what is missing. Exit code 1 and one message on failure."""
    done = 0
    with dg.DagsterInstance.get() as instance:
        with contextlib.redirect_stdout(sys.stderr):  # SQLite's storage prints what it looks at
            instance.upgrade()
        try:
            definitions = defs()
            for step in missing_steps(instance, platform.models):
                run_step(definitions, instance, step, _say)
                done += 1
        except Exception as error:  # whatever a step raises ends here as one message
            _say(f"✘ {root_cause(error)}")
            return 1
    if not done:
        _say("everything is materialized already")
    return 0


def root_cause(error: BaseException) -> str:
    """The innermost error of a failed step, as one message."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
