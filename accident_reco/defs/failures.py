"""Describes in one sentence why a run failed, for clients that do not see Dagster."""

from typing import Final

import dagster as dg

MAX_CHARACTERS: Final = 500
_EVENTS: Final = {
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
}


def describe_failure(instance: dg.DagsterInstance, run_id: str, limit: int | None = MAX_CHARACTERS) -> str | None:
    """The blocking check that stopped a run, else the first step's error, else the run's own message; None without.

    Args:
        limit: maximum number of characters; None: the whole text.
    """
    check = step = run = None
    for record in instance.get_records_for_run(run_id, of_type=_EVENTS).records:
        event = record.event_log_entry.get_dagster_event()
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            found = event.asset_check_evaluation_data
            if check is None and found.blocking and not found.passed and found.severity == dg.AssetCheckSeverity.ERROR:
                check = f"{found.asset_key.to_user_string()} fails {found.check_name}: {found.description}"
        elif event.event_type == dg.DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            if step is None and error is not None:
                # Dagster wraps the error that the code raised.
                message = (error.cause or error).message
                interrupted = error.cls_name == dg.DagsterExecutionInterruptedError.__name__
                step = f"{event.step_key}: {'was interrupted' if interrupted else message}"
        else:
            run = event.message
    reason = check or step or run
    return None if reason is None else " ".join(reason.split())[:limit]
