"""Says in a sentence what failed in a run, for people who asked for it and have no Dagster at hand."""

from typing import Final

import dagster as dg

MOST: Final = 500
_TOLD: Final = {
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
}


def what_failed(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """The blocking check that stopped a run, else the first step's error, else what the run itself said."""
    check = step = run = None
    for record in instance.get_records_for_run(run_id, of_type=_TOLD).records:
        event = record.event_log_entry.get_dagster_event()
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            found = event.asset_check_evaluation_data
            if check is None and found.blocking and not found.passed and found.severity == dg.AssetCheckSeverity.ERROR:
                check = f"{found.asset_key.to_user_string()} fails {found.check_name}: {found.description}"
        elif event.event_type == dg.DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            if step is None and error is not None:
                # Dagster wraps what the code raised.
                message = (error.cause or error).message
                stopped = error.cls_name == dg.DagsterExecutionInterruptedError.__name__
                step = f"{event.step_key}: {'was stopped from outside' if stopped else message}"
        else:
            run = event.message
    told = check or step or run
    return None if told is None else " ".join(told.split())[:MOST]
