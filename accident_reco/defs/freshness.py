"""Freshness policies of what ages. Dagster's daemon evaluates them; its pages show what is late."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Final

import dagster as dg

from accident_reco.defs.dagster_internals import get_smallest_cron_interval

YEARLY: Final = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=430), warn_window=timedelta(days=400))
"""Of what changes at least once a year: published files and what follows them. A publication may be a month late."""


@cache
def follow_schedule(cron: str) -> dg.FreshnessPolicy:
    """Of what a schedule (UTC) materializes: at each of its times, the latest one is not older than the time before.

    Where the times are not evenly spaced, the shortest distance counts: after a longer one it is late until the
    schedule's run has ended.
    """
    return dg.FreshnessPolicy.cron(cron, get_smallest_cron_interval(cron), timezone="UTC")
