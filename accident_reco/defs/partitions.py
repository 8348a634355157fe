"""Partitions: accident data comes by year."""

from __future__ import annotations

import dagster as dg

FIRST_YEAR = 2005

years = dg.TimeWindowPartitionsDefinition(start=str(FIRST_YEAR), fmt="%Y", cron_schedule="0 0 1 1 *")
"""Every complete year from the first one published. One run may make a range: read `context.partition_keys`."""

single_run = dg.BackfillPolicy.single_run()
