"""Accident data by year: published files, victims, quarantine, and what must hold before they teach a model."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.model_metrics import record_model_metrics
from accident_reco.models.accidents.assets.partitions import single_run, years
from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data import ingest, raw_store
from accident_reco.models.accidents.data.checks import CheckOutcome, fresh
from accident_reco.models.accidents.data.queries import loaded_years, row_counts
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.sources import open_source

# Metadata of what was made, by asset and year.
Made = dict[tuple[dg.AssetKey, int], dict[str, Any]]

GROUP = "accidents_ingest"
OWNERS = ["team:accidents"]
DESCRIPTIONS = {
    "caracteristiques": "When, where and in which light and weather each accident happened, as published.",
    "lieux": "The roads of each accident (one to five rows), as published.",
    "vehicules": "The vehicles of each accident, as published.",
    "usagers": "The people of each accident, as published.",
}
VICTIMS = dg.AssetKey(["accidents", "victims"])
QUARANTINE = dg.AssetKey(["accidents", "quarantine"])
WAREHOUSE = dg.AssetKey(["accidents", "warehouse_tables"])
RAW = [dg.AssetKey(["accidents", table]) for table in TABLES]
PROGRESS_BYTES = 5 << 20
AS_PUBLISHED = "The stored file is byte for byte what was fetched, and its header is this table's."
CHECKS = {
    "one_row_per_road_user": "Rows in = rows out + refused, in every table; at most 2 % are refused.",
    "keys_unique": "No accident, vehicle or user is there twice.",
    "referential_integrity": "People find their vehicle, accidents their place, rows their accident.",
    "code_ranges": "Every code is in the codebook or unknown; at most 2 % of a column were repaired.",
    "year_on_year": "People per month and share of gravely hurt lie within the band of the year before.",
    "no_file_twice": "No published file is byte for byte the file of another year.",
    "no_duplicate_accidents": "At most 2 % of the accidents have the content of another one, whatever their numbers.",
}


def _spec(key: dg.AssetKey, description: str, kinds: set[str], deps: list[dg.AssetKey]) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=deps,
        description=description,
        kinds=kinds,
        group_name=GROUP,
        owners=OWNERS,
        partitions_def=years,
        skippable=True,
    )


@dg.multi_asset(
    name="accident_years",
    specs=[
        *(_spec(key, DESCRIPTIONS[table], {"csv"}, []) for table, key in zip(TABLES, RAW, strict=True)),
        _spec(VICTIMS, "One row per road user: accident, main road, vehicle, person and context.", {"parquet"}, RAW),
        _spec(QUARANTINE, "Refused rows and repaired values: file, line, value, rule, way out.", {"parquet"}, RAW),
    ],
    check_specs=[
        *(dg.AssetCheckSpec("as_published", asset=key, blocking=True, description=AS_PUBLISHED) for key in RAW),
        *(dg.AssetCheckSpec(name, asset=VICTIMS, blocking=True, description=text) for name, text in CHECKS.items()),
    ],
    can_subset=True,
    backfill_policy=single_run,
)
def accident_years(
    context: dg.AssetExecutionContext, platform: Platform
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Fetches and merges year by year, one step for all, so that a bad year fails alone: the others are done first."""
    made, bad = _make(context, platform)
    results = list(_verdicts(context, platform, made))
    if bad:
        for (key, an), facts in made.items():
            context.log_event(dg.AssetMaterialization(key, partition=str(an), metadata=facts))
        yield from results if made else []
        raise dg.Failure("; ".join(bad), metadata={"bad_years": len(bad), "good_years": len({an for _, an in made})})
    for (key, an), facts in made.items():
        context.add_asset_metadata(facts, asset_key=key, partition_key=str(an))
    for key in dict.fromkeys(key for key, _ in made):
        yield dg.MaterializeResult(key)
    yield from results


def _make(context: dg.AssetExecutionContext, platform: Platform) -> tuple[Made, list[str]]:
    """What was made of the run's years, and what is wrong with the years of which nothing was made."""
    chosen = context.selected_asset_keys
    source = open_source(platform.settings.of(AccidentSettings), _progress(context))
    tables = [table for table, key in zip(TABLES, RAW, strict=True) if key in chosen]
    merge = bool({VICTIMS, QUARANTINE} & chosen)
    made: Made = {}
    bad: list[str] = []
    for year in ingest.ingest_years(platform.objects, source, map(int, context.partition_keys), tables, merge=merge):
        if isinstance(year, ingest.BadYear):
            context.log.error("%s: %s", year.year, year.reason)
            bad.append(f"{year.year}: {year.reason}")
        else:
            made |= {place: facts for place, facts in _told(year).items() if place[0] in chosen}
            context.log.info("%s is done", year.year)
    for note in source.notes() if tables and made else []:
        context.log.warning(note)
    return made, bad


def _progress(context: dg.AssetExecutionContext) -> Callable[[str, int, int | None], None]:
    """Tells every 5 MB of a download."""
    told: dict[str, int] = {}

    def tell(url: str, size: int, expected: int | None) -> None:
        if size // PROGRESS_BYTES > told.get(url, 0):
            told[url] = size // PROGRESS_BYTES
            context.log.info("%s: %s of %s bytes", url, f"{size:,}", f"{expected:,}" if expected else "unknown")

    return tell


def _verdicts(context: dg.AssetExecutionContext, platform: Platform, made: Made) -> Iterator[dg.AssetCheckResult]:
    """One result per selected check, over all years that were made."""
    merged = ingest.verdicts(platform.objects, [year for key, year in made if key == VICTIMS])
    outcomes = [outcome for found in merged for outcome in found]
    for check in context.selected_asset_check_keys:
        if check.asset_key in RAW:
            years_made = [year for key, year in made if key == check.asset_key]
            stored = [ingest.as_published(platform.objects, year, check.asset_key.path[-1]) for year in years_made]
            yield _check_result(check, stored)
        else:
            yield _check_result(check, [outcome for outcome in outcomes if outcome.name == check.name])


def _told(year: ingest.Ingested) -> Made:
    """What a person sees of a year in the assets' history."""
    told: Made = {}
    for table, (record, fetched) in year.files.items():
        told[dg.AssetKey(["accidents", table]), year.year] = {
            "file": record.name,
            "source_url": record.url,
            "sha256": record.sha256,
            "bytes": record.size,
            "data_source": record.data_source,
            "fetched": fetched,
        }
    if year.summary is not None and year.quarantine is not None:
        summary = year.summary
        picture = base64.b64encode(ingest.severity_plot(summary)).decode()
        examples = "\n".join(f"- {message}" for message in year.quarantine.message.head(5)) or "nothing"
        told[VICTIMS, year.year] = {
            "dagster/row_count": summary["victims"],
            "grave_share": summary["grave_share"],
            "refused_people": summary["counts"]["usagers"][2],
            "data_source": summary["data_source"],
            "sha256": summary["victims_sha256"],
            "severity": dg.MetadataValue.md(f"![severity](data:image/png;base64,{picture})"),
            **{f"{table}_rows": count[0] for table, count in summary["counts"].items()},
        }
        told[QUARANTINE, year.year] = {
            "dagster/row_count": len(year.quarantine),
            "rules": dg.MetadataValue.json(summary["rules"]),
            "examples": dg.MetadataValue.md(examples),
            "data_source": summary["data_source"],
        }
    return told


def _check_result(check: dg.AssetCheckKey, outcomes: list[CheckOutcome]) -> dg.AssetCheckResult:
    failed = [outcome for outcome in outcomes if not outcome.passed]
    shown = failed or outcomes
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(outcome.reason for outcome in shown[:5]),
        metadata={"years": len(outcomes), "failed": [outcome.reason for outcome in failed]},
    )


@dg.asset_check(asset=VICTIMS, description="The newest year is recent enough for what is published by now.")
def fresh_enough(platform: Platform) -> dg.AssetCheckResult:
    """Warns when the newest year lags behind publication."""
    from datetime import UTC, datetime

    outcome = fresh(raw_store.summaries(platform.objects), datetime.now(UTC))
    return dg.AssetCheckResult(passed=outcome.passed, severity=dg.AssetCheckSeverity.WARN, description=outcome.reason)


@dg.asset(
    key=WAREHOUSE,
    deps=[VICTIMS, QUARANTINE],
    group_name=GROUP,
    kinds={"sql"},
    owners=OWNERS,
    description="Accidents, places, vehicles, victims, quarantine, codebook and model metrics as SQL tables and views.",
)
def accident_warehouse_tables(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Replaces the years that changed, each in one transaction, and leaves the others alone."""
    platform.warehouse.upgrade()
    done = ingest.load_warehouse(
        platform.objects, platform.warehouse, open_source(platform.settings.of(AccidentSettings)).data_source
    )
    versions = record_model_metrics(platform.models, platform.warehouse, "accidents")
    counts = row_counts(platform.warehouse)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(counts.values()),
            **{f"{table}_rows": count for table, count in counts.items()},
            **{f"years_{what}": ", ".join(map(str, found)) or "none" for what, found in done.items()},
            "model_versions": versions,
            "data_source": open_source(platform.settings.of(AccidentSettings)).data_source,
        }
    )


@dg.asset_check(
    asset=WAREHOUSE, blocking=True, description="The warehouse holds exactly the people of the stored years."
)
def warehouse_matches_store(platform: Platform) -> dg.AssetCheckResult:
    """Rows of the warehouse against the summaries of the stored years."""
    stored = raw_store.current_years(platform.objects, open_source(platform.settings.of(AccidentSettings)).data_source)
    expected = {year: summary["victims"] for year, summary in stored.items()}
    found = {year: row["people"] for year, row in loaded_years(platform.warehouse).items()}
    total = row_counts(platform.warehouse)["victims"]
    passed = expected == found and total == sum(expected.values())
    return dg.AssetCheckResult(
        passed=passed,
        description=f"{total:,} people in {len(found)} years" + ("" if passed else f"; stored are {expected}"),
        metadata={"people": total, "years": len(found)},
    )


def ingest_job(executor: dg.ExecutorDefinition | None) -> Any:
    """The job over published files, victims and quarantine, by year."""
    return dg.define_asset_job(
        "ingest_accidents",
        selection=dg.AssetSelection.assets(*RAW, VICTIMS, QUARANTINE),
        description="Published files of one year or a range of years to one row per road user.",
        executor_def=executor,
    )


load_accidents = dg.define_asset_job(
    "load_accidents",
    selection=dg.AssetSelection.assets(WAREHOUSE),
    executor_def=dg.in_process_executor,  # a step and its check: processes of their own would load everything again
    description="Years that changed since they were loaded into the warehouse.",
)
