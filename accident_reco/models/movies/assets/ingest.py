"""Movie data: the published files, and the warehouse that holds their ratings and catalogue."""

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from accident_reco.defs.resources import Platform
from accident_reco.models.movies.data import ingest, raw_store
from accident_reco.models.movies.data.quarantine import refusals
from accident_reco.models.movies.data.sources import open_source
from accident_reco.models.movies.settings import MovieSettings

GROUP = "movies_ingest"
OWNERS = ["team:movies"]
RATINGS = dg.AssetKey(["movies", "raw_ratings"])
MOVIES = dg.AssetKey(["movies", "raw_movies"])


@dg.multi_asset(
    name="movie_files",
    specs=[
        dg.AssetSpec(
            RATINGS, group_name=GROUP, owners=OWNERS, kinds={"csv"}, skippable=True, code_version="1",
            description="Who rated what, how and when, as published.",
        ),
        dg.AssetSpec(
            MOVIES, group_name=GROUP, owners=OWNERS, kinds={"csv"}, skippable=True, code_version="1",
            description="Titles and genres of the movies, as published.",
        ),
    ],
    can_subset=True,
)  # fmt: skip
def movie_files(context: dg.AssetExecutionContext, platform: Platform) -> Any:
    """Fetch both files from one source, so that they fit together; what is stored already is not fetched again."""
    found: dict[dg.AssetKey, tuple[raw_store.RawRecord, bool]] = {}
    with closing(open_source(platform.settings.of(MovieSettings))) as source:
        if RATINGS in context.selected_asset_keys:
            found[RATINGS] = raw_store.fetch_raw(platform.objects, source, "raw_ratings")
        if MOVIES in context.selected_asset_keys:
            found[MOVIES] = raw_store.fetch_raw(platform.objects, source, "raw_movies")
    for key, (record, fetched) in found.items():
        yield dg.MaterializeResult(
            key,
            metadata={
                "file": record.name,
                "source_url": record.url,
                "sha256": record.sha256,
                "bytes": record.size,
                "data_source": record.data_source,
                "note": record.note or "as found",
                "fetched": fetched,
            },
        )


@dg.asset(
    key_prefix="movies", deps=[RATINGS, MOVIES], group_name=GROUP, owners=OWNERS, kinds={"sql"}, code_version="1",
    description="Ratings and movies in SQL; refused rows beside them with their reason. What the API took stays.",
    check_specs=[
        dg.AssetCheckSpec(
            "few_rows_refused", asset=["movies", "warehouse_tables"], blocking=True,
            description="At most 2 % of the rating rows break a rule.",
        )
    ],
)  # fmt: skip
def warehouse_tables(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Import the stored files, chunk by chunk; the same files again change nothing."""
    ratings, record = raw_store.raw_file(platform.objects, "raw_ratings")
    movies, _ = raw_store.raw_file(platform.objects, "raw_movies")
    at = 0

    def progress(rows: int) -> None:
        nonlocal at
        if rows - at >= 1_000_000:
            at = rows
            context.log.info("%s rows read", f"{rows:,}")

    now = int(datetime.now(UTC).timestamp())
    done = ingest.import_files(platform.warehouse, ratings, movies, record.data_source, now, progress)
    few, told = refusals(done.rows, done.quarantined)
    examples = "\n".join(f"- {reason}" for reason in done.examples) or "none"
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": done.rows,
            "movies": done.movies,
            "quarantined": done.quarantined,
            "quarantined_by_rule": dg.MetadataValue.json(done.by_rule),
            "quarantine_examples": dg.MetadataValue.md(examples),
            "imported_now": done.fresh,
            "data_source": record.data_source,
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="few_rows_refused",
                passed=few,
                severity=dg.AssetCheckSeverity.ERROR,
                description=told,
            )
        ],
    )


@dg.asset_check(asset=MOVIES, blocking=True, description="The movies file is readable, has ids, titles and genres.")
def movies_readable(platform: Platform) -> dg.AssetCheckResult:
    """A catalogue without titles or of the wrong format would empty every answer."""
    from accident_reco.models.movies.data.formats import read_movies

    file, _ = raw_store.raw_file(platform.objects, "raw_movies")
    with file.open() as stream:
        catalogue = read_movies(stream.read(), file.name)
    nameless = sum(not title for title in catalogue.title)
    with_genre = sum(bool(genres) for genres in catalogue.genres)
    return dg.AssetCheckResult(
        passed=len(catalogue) > 0 and nameless == 0 and with_genre > 0,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(catalogue):,} movies, {nameless} without a title, {with_genre:,} with genres",
        metadata={"movies": len(catalogue), "nameless": nameless, "with_genre": with_genre},
    )


@dg.asset_check(asset=RATINGS, blocking=True, description="The ratings file is one of the published formats.")
def ratings_recognised(platform: Platform) -> dg.AssetCheckResult:
    """Told by its first line."""
    scale = raw_store.rating_scale(platform.objects)
    return dg.AssetCheckResult(
        passed=True,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"stars from {scale}",
        metadata={"scale": str(scale)},
    )


ingest_movies = dg.define_asset_job(
    "ingest_movies",
    selection=dg.AssetSelection.assets(RATINGS, MOVIES, warehouse_tables),
    description="Published rating files to the warehouse.",
)
