"""Assets of accident data by year: published files, victims, quarantine, with the checks that block training."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from accident_reco.defs.automation import FOLLOW_UPDATES
from accident_reco.defs.freshness import YEARLY
from accident_reco.defs.links import describe_object, show_url
from accident_reco.defs.pools import ingest_pool
from accident_reco.defs.resources import Platform
from accident_reco.defs.table_schema import frame_schema, table_schema, table_schemas
from accident_reco.lifecycle.model_metrics import record_model_metrics
from accident_reco.models.accidents.assets.lineage import describe_copied, describe_victims
from accident_reco.models.accidents.assets.partitions import YEARS, single_run
from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data import checks, ingest, raw_store
from accident_reco.models.accidents.data.checks import CheckOutcome, check_freshness
from accident_reco.models.accidents.data.queries import count_rows, read_loaded_years
from accident_reco.models.accidents.data.schema import VICTIM_COLUMNS
from accident_reco.models.accidents.data.tables import TABLES as TABLES_IN_SQL
from accident_reco.models.accidents.data.tables import victims as victims_in_sql
from accident_reco.models.accidents.features.context_columns import CONTEXT_NAMES
from accident_reco.models.accidents.model import BASE
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.sources import open_source
from accident_reco.settings import Settings

# Metadata of materialized partitions, by asset and year.
YearMetadata = dict[tuple[dg.AssetKey, int], dict[str, Any]]

GROUP = f"{BASE}_ingest"
DESCRIPTIONS = {
    "caracteristiques": "When, where and in which light and weather each accident happened, as published.",
    "lieux": "The roads of each accident (one to five rows), as published.",
    "vehicules": "The vehicles of each accident, as published.",
    "usagers": "The road users of each accident, as published.",
}
VICTIMS = dg.AssetKey([BASE, "victims"])
QUARANTINE = dg.AssetKey([BASE, "quarantine"])
WAREHOUSE = dg.AssetKey([BASE, "warehouse_tables"])
RAW = [dg.AssetKey([BASE, table]) for table in TABLES]
PROGRESS_BYTES = 5 << 20
RAW_FILE_INTACT = "The stored file is byte for byte the fetched one, and its header is that of its table."
CHECKS = {
    checks.ROW_COUNTS: "Rows in = rows out + refused, in every table; at most 2 % are refused.",
    checks.KEYS: "Accidents, vehicles and users are unique.",
    checks.REFERENCES: "Road users have their vehicle, accidents their road, rows their accident; at most 1 % do not.",
    checks.CODES: "Every code is in the codebook or unknown; at most 2 % of a column were repaired.",
    checks.YEAR_ON_YEAR: "Road users per month and share of killed or hospitalised are within the band of last year's.",
    checks.FILES: "No published file is byte for byte the file of another year.",
    checks.DUPLICATES: "At most 2 % of the accidents have the content of another one under another number.",
}


def _build_spec(key: dg.AssetKey, description: str, kinds: set[str], deps: list[dg.AssetKey]) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=deps,
        description=description,
        kinds=kinds,
        group_name=GROUP,
        partitions_def=YEARS,
        skippable=True,
        freshness_policy=YEARLY,
    )


def build_accident_years(pool: str | None) -> dg.AssetsDefinition:
    """The assets by year with their checks, in a pool or in none."""
    merged = (
        (VICTIMS, "One row per road user: accident, main road, vehicle, user and context."),
        (QUARANTINE, "Refused rows and repaired values: file, line, value, rule, fix."),
    )
    return dg.multi_asset(
        name="accident_years",
        specs=[
            *(_build_spec(key, DESCRIPTIONS[table], {"csv"}, []) for table, key in zip(TABLES, RAW, strict=True)),
            *(_build_spec(key, description, {"parquet"}, RAW) for key, description in merged),
        ],
        check_specs=[
            *(
                dg.AssetCheckSpec("raw_file_intact", asset=key, blocking=True, description=RAW_FILE_INTACT)
                for key in RAW
            ),
            *(dg.AssetCheckSpec(name, asset=VICTIMS, blocking=True, description=text) for name, text in CHECKS.items()),
        ],
        can_subset=True,
        backfill_policy=single_run,
        pool=pool,
    )(_ingest)


def _ingest(
    context: dg.AssetExecutionContext, platform: Platform
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Fetch and merge year by year; years that fail are reported after the others are stored."""
    done, failed = _ingest_years(context, platform)
    results = list(_check_results(context, platform, done))
    if failed:
        for (key, an), facts in done.items():
            context.log_event(dg.AssetMaterialization(key, partition=str(an), metadata=facts))
        yield from results if done else []
        good_years = len({an for _, an in done})
        raise dg.Failure("; ".join(failed), metadata={"bad_years": len(failed), "good_years": good_years})
    for (key, an), facts in done.items():
        context.add_asset_metadata(facts, asset_key=key, partition_key=str(an))
    for key in dict.fromkeys(key for key, _ in done):
        yield dg.MaterializeResult(key)
    yield from results


def _ingest_years(context: dg.AssetExecutionContext, platform: Platform) -> tuple[YearMetadata, list[str]]:
    """Metadata of the run's ingested years, and one sentence for each year that failed."""
    chosen = context.selected_asset_keys
    source = open_source(platform.settings.of(AccidentSettings), _build_progress_logger(context))
    tables = [table for table, key in zip(TABLES, RAW, strict=True) if key in chosen]
    merge = bool({VICTIMS, QUARANTINE} & chosen)
    done: YearMetadata = {}
    failed: list[str] = []
    for year in ingest.ingest_years(platform.objects, source, map(int, context.partition_keys), tables, merge=merge):
        if isinstance(year, ingest.FailedYear):
            context.log.error("%s: %s", year.year, year.reason)
            failed.append(f"{year.year}: {year.reason}")
        else:
            done |= {at: facts for at, facts in _build_metadata(year, platform.settings).items() if at[0] in chosen}
            context.log.info("%s is ingested", year.year)
    for note in source.notes() if tables and done else []:
        context.log.warning(note)
    return done, failed


def _build_progress_logger(context: dg.AssetExecutionContext) -> Callable[[str, int, int | None], None]:
    """A callback (URL, bytes so far, bytes expected) that logs every 5 MB of a download."""
    logged: dict[str, int] = {}

    def log_progress(url: str, size: int, expected: int | None) -> None:
        if size // PROGRESS_BYTES > logged.get(url, 0):
            logged[url] = size // PROGRESS_BYTES
            context.log.info("%s: %s of %s bytes", url, f"{size:,}", f"{expected:,}" if expected else "unknown")

    return log_progress


def _check_results(
    context: dg.AssetExecutionContext, platform: Platform, done: YearMetadata
) -> Iterator[dg.AssetCheckResult]:
    """One result per selected check, over all ingested years."""
    merged = ingest.check_years(platform.objects, [year for key, year in done if key == VICTIMS])
    outcomes = [outcome for of_year in merged for outcome in of_year]
    for check in context.selected_asset_check_keys:
        if check.asset_key in RAW:
            stored_years = [year for key, year in done if key == check.asset_key]
            stored = [ingest.check_raw_file(platform.objects, year, check.asset_key.path[-1]) for year in stored_years]
            yield _build_check_result(check, stored)
        else:
            yield _build_check_result(check, [outcome for outcome in outcomes if outcome.name == check.name])


def _build_metadata(year: ingest.IngestedYear, settings: Settings) -> YearMetadata:
    """Metadata of a year, by asset and year, as the assets' history shows it."""
    metadata: YearMetadata = {}
    for table, (record, fetched) in year.files.items():
        metadata[dg.AssetKey([BASE, table]), year.year] = {
            "file": record.name,
            "source_url": show_url(record.url),
            "sha256": record.sha256,
            "bytes": record.size,
            "data_source": record.data_source,
            **describe_object(settings, record.key),
            "fetched": fetched,
        }
    if year.summary is not None and year.quarantine is not None:
        summary = year.summary
        picture = base64.b64encode(ingest.plot_severity(summary)).decode()
        examples = "\n".join(f"- {message}" for message in year.quarantine.message.head(5)) or "nothing"
        for table, count in summary["counts"].items():
            metadata.setdefault((dg.AssetKey([BASE, table]), year.year), {})["dagster/row_count"] = count[0]
        metadata[VICTIMS, year.year] = {
            "dagster/row_count": summary["victims"],
            **describe_victims(),
            **describe_object(settings, f"{raw_store.RAW}/victims/{year.year}.parquet"),
            "grave_share": summary["grave_share"],
            "refused_people": summary["counts"]["usagers"][2],
            "data_source": summary["data_source"],
            "sha256": summary["victims_sha256"],
            "severity": dg.MetadataValue.md(f"![severity](data:image/png;base64,{picture})"),
            **{f"{table}_rows": count[0] for table, count in summary["counts"].items()},
        }
        metadata[QUARANTINE, year.year] = {
            "dagster/row_count": len(year.quarantine),
            "dagster/column_schema": frame_schema(year.quarantine),
            **describe_object(settings, f"{raw_store.RAW}/quarantine/{year.year}.parquet"),
            "rules": dg.MetadataValue.json(summary["rules"]),
            "examples": dg.MetadataValue.md(examples),
            "data_source": summary["data_source"],
        }
    return metadata


def _build_check_result(check: dg.AssetCheckKey, outcomes: list[CheckOutcome]) -> dg.AssetCheckResult:
    failed = [outcome for outcome in outcomes if not outcome.passed]
    reported = failed or outcomes
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(outcome.reason for outcome in reported[:5]),
        metadata={"years": len(outcomes), "failed": [outcome.reason for outcome in failed]},
    )


@dg.asset_check(asset=VICTIMS, description="The newest stored year is among those published recently.")
def freshness(platform: Platform) -> dg.AssetCheckResult:
    """Warns when newer years than the stored ones should have been published."""
    from datetime import UTC, datetime

    outcome = check_freshness(raw_store.load_summaries(platform.objects), datetime.now(UTC))
    return dg.AssetCheckResult(passed=outcome.passed, severity=dg.AssetCheckSeverity.WARN, description=outcome.reason)


@dg.asset(
    key=WAREHOUSE,
    deps=[VICTIMS, QUARANTINE],
    automation_condition=FOLLOW_UPDATES,
    freshness_policy=YEARLY,
    pool=ingest_pool(BASE),
    group_name=GROUP,
    kinds={"sql"},
    description="Accidents, places, vehicles, victims, quarantine, codebook and model metrics as SQL tables and views.",
)
def accident_warehouse_tables(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Replace the years that changed, each in one transaction; the others stay."""
    platform.warehouse.upgrade()
    done = ingest.load_warehouse(
        platform.objects, platform.warehouse, open_source(platform.settings.of(AccidentSettings)).data_source
    )
    versions = record_model_metrics(platform.models, platform.warehouse, BASE)
    counts, known = count_rows(platform.warehouse), {*VICTIM_COLUMNS, *CONTEXT_NAMES}
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(counts.values()),
            **{f"{table}_rows": count for table, count in counts.items()},
            "dagster/column_schema": table_schema(victims_in_sql),
            **describe_copied((column.name for column in victims_in_sql.columns if column.name in known), VICTIMS),
            **table_schemas(TABLES_IN_SQL),
            **{f"years_{what}": ", ".join(map(str, found)) or "none" for what, found in done.items()},
            "model_versions": versions,
            "data_source": open_source(platform.settings.of(AccidentSettings)).data_source,
        }
    )


@dg.asset_check(
    asset=WAREHOUSE, blocking=True, description="The warehouse has exactly the road users of the stored years."
)
def warehouse_matches_store(platform: Platform) -> dg.AssetCheckResult:
    """Compares the rows of the warehouse with the summaries of the stored years."""
    stored = raw_store.load_current_years(
        platform.objects, open_source(platform.settings.of(AccidentSettings)).data_source
    )
    expected = {year: summary["victims"] for year, summary in stored.items()}
    found = {year: row["people"] for year, row in read_loaded_years(platform.warehouse).items()}
    total = count_rows(platform.warehouse)["victims"]
    passed = expected == found and total == sum(expected.values())
    return dg.AssetCheckResult(
        passed=passed,
        description=f"{total:,} road users in {len(found)} years" + ("" if passed else f"; stored are {expected}"),
        metadata={"road_users": total, "years": len(found)},
    )


def build_ingest_job(executor: dg.ExecutorDefinition | None) -> Any:
    """The partitioned job over published files, victims and quarantine."""
    return dg.define_asset_job(
        "ingest_accidents",
        selection=dg.AssetSelection.assets(*RAW, VICTIMS, QUARANTINE),
        description="Fetch published files of one year or a range of years and merge them to one row per road user.",
        executor_def=executor,
    )


load_accidents = dg.define_asset_job(
    "load_accidents",
    selection=dg.AssetSelection.assets(WAREHOUSE),
    executor_def=dg.in_process_executor,  # a step and its check: separate processes would import everything twice
    description="Load years that changed into the warehouse.",
)
