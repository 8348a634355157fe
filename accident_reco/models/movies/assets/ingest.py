"""Movie data: the published files, and the warehouse that holds their ratings and catalogue."""

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from accident_reco.defs.freshness import YEARLY
from accident_reco.defs.links import describe_object, show_url
from accident_reco.defs.pools import ingest_pool
from accident_reco.defs.resources import Platform
from accident_reco.defs.table_schema import build_lineage, table_schema, table_schemas
from accident_reco.models.movies.data import ingest, raw_store
from accident_reco.models.movies.data.formats import PUBLISHED
from accident_reco.models.movies.data.quarantine import MAX_QUARANTINED, check_quarantine
from accident_reco.models.movies.data.sources import open_source
from accident_reco.models.movies.data.tables import TABLES
from accident_reco.models.movies.data.tables import ratings as ratings_in_sql
from accident_reco.models.movies.settings import MovieSettings

GROUP = "movies_ingest"
RATINGS = dg.AssetKey(["movies", "raw_ratings"])
MOVIES = dg.AssetKey(["movies", "raw_movies"])
FEW_QUARANTINED = "few_rows_quarantined"


@dg.multi_asset(
    name="movie_files",
    specs=[
        dg.AssetSpec(
            key,
            group_name=GROUP,
            kinds={"csv"},
            skippable=True,
            code_version="1",
            description=description,
            freshness_policy=YEARLY,
        )
        for key, description in (
            (RATINGS, "Ratings with user, movie, stars and time, as published."),
            (MOVIES, "Titles and genres of the movies, as published."),
        )
    ],
    can_subset=True,
    pool=ingest_pool("movies"),
)
def movie_files(context: dg.AssetExecutionContext, platform: Platform) -> Any:
    """Fetch both files from one source, so that they fit each other; a current stored file is not fetched again."""
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
                "source_url": show_url(record.url),
                **describe_object(platform.settings, record.key),
                "sha256": record.sha256,
                "bytes": record.size,
                "data_source": record.data_source,
                "note": record.note or "as published",
                "fetched": fetched,
            },
        )


@dg.asset(
    key_prefix="movies",
    deps=[RATINGS, MOVIES],
    group_name=GROUP,
    kinds={"sql"},
    code_version="1",
    description="Ratings and movies in SQL, quarantined rows with their reason. Ratings from the API are kept.",
    freshness_policy=YEARLY,
    pool=ingest_pool("movies"),
    check_specs=[
        dg.AssetCheckSpec(
            FEW_QUARANTINED,
            asset=["movies", "warehouse_tables"],
            blocking=True,
            description=f"At most {MAX_QUARANTINED:.0%} of the rating rows break a rule.",
        )
    ],
)
def warehouse_tables(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """Import the stored files, chunk by chunk; the same files again change nothing."""
    ratings, record = raw_store.open_raw_file(platform.objects, "raw_ratings")
    movies, _ = raw_store.open_raw_file(platform.objects, "raw_movies")
    at = 0

    def progress(rows: int) -> None:
        nonlocal at
        if rows - at >= 1_000_000:
            at = rows
            context.log.info("%s rows read", f"{rows:,}")

    now = int(datetime.now(UTC).timestamp())
    done = ingest.import_files(platform.warehouse, platform.objects, ratings, movies, record.data_source, now, progress)
    passed, reason = check_quarantine(done.rows, done.quarantined, *done.examples[:1])
    examples = "\n".join(f"- {reason}" for reason in done.examples) or "none"
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": done.rows,
            "movies": done.movies,
            "quarantined": done.quarantined,
            "quarantined_by_rule": dg.MetadataValue.json(done.by_rule),
            "quarantine_examples": dg.MetadataValue.md(examples),
            "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in done.notes[:20]) or "none"),
            "imported_now": done.fresh,
            "data_source": record.data_source,
            "dagster/column_schema": table_schema(ratings_in_sql),
            **build_lineage({name: [(RATINGS, published)] for name, published in PUBLISHED.items()}),
            **table_schemas(TABLES),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=FEW_QUARANTINED,
                passed=passed,
                severity=dg.AssetCheckSeverity.ERROR,
                description=reason,
            )
        ],
    )


@dg.asset_check(asset=MOVIES, blocking=True, description="The movies file is readable, has ids, titles and genres.")
def movies_readable(platform: Platform) -> dg.AssetCheckResult:
    """Check the catalogue: without titles, or in a wrong format, it would empty every answer."""
    from accident_reco.models.movies.data.catalogues import read_movies
    from accident_reco.models.movies.data.published_ids import PublishedIds

    file, _ = raw_store.open_raw_file(platform.objects, "raw_movies")
    with file.open() as stream:
        catalogue = read_movies(stream.read(), file.name, PublishedIds())
    untitled = sum(not title for title in catalogue.title)
    with_genre = sum(bool(genres) for genres in catalogue.genres)
    return dg.AssetCheckResult(
        passed=len(catalogue) > 0 and untitled == 0 and with_genre > 0,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(catalogue):,} movies, {untitled} without a title, {with_genre:,} with genres"
        + "".join(f"; {note}" for note in catalogue.notes[:5]),
        metadata={"movies": len(catalogue), "untitled": untitled, "with_genre": with_genre},
    )


@dg.asset_check(asset=RATINGS, blocking=True, description="The ratings file is one of the published formats.")
def ratings_recognised(platform: Platform) -> dg.AssetCheckResult:
    """Recognise the format by the first line."""
    scale = raw_store.read_rating_scale(platform.objects)
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
