"""Tags of runs. Imports nothing: every Dagster process that starts runs imports it."""

from typing import Final

REQUEST_TAG: Final = "accident_reco/request_id"
"""Id of the work request that led to a run."""

SOURCE_TAG: Final = "accident_reco/source"
"""Source of that request: drift, performance, data, alert, api."""

REASON_TAG: Final = "accident_reco/reason"
"""Why a run was started, in one sentence."""

LAUNCHER_TAG: Final = "user"
"""Dagster's tag of who launched a run, which its pages show instead of `Manually launched`."""

MAX_RETRIES_TAG: Final = "dagster/max_retries"
"""Dagster's tag with the number of retries of a run whose process died."""

URGENT: Final = {"accident_reco/urgent": "true"}
"""Tag of jobs that start at once, outside the queue."""

USER_TAG: Final = "accident_reco/user"
"""Account that started a run in Dagster's pages; set by their guard (`serving.guard.user_tag`) where it has a login."""
