"""The ingestion part of the platform as a code location for tests of backfills: no sensors, quick to load."""

import dagster as dg

from accident_reco.defs.resources import Platform
from accident_reco.models.accidents.assets import ingest

defs = dg.Definitions(
    assets=[ingest.build_accident_years(None)],
    asset_checks=[ingest.freshness],
    jobs=[ingest.build_ingest_job(None)],
    resources={"platform": Platform()},
    # How steps are executed is no matter of backfills: Dagster's default imports everything again for each of them.
    executor=dg.in_process_executor,
)
