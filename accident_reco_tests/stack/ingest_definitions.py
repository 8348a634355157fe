"""The ingest part of the platform as a code location of its own, for tests of backfills: no sensors, quick to load."""

import dagster as dg

from accident_reco.defs import accidents_ingest
from accident_reco.defs.resources import Platform

defs = dg.Definitions(
    assets=[accidents_ingest.accident_years],
    asset_checks=[accidents_ingest.fresh_enough],
    jobs=[accidents_ingest.ingest_accidents],
    resources={"platform": Platform()},
)
