"""Formats what runs and sensors log as JSON lines in the format of the services' own logs.

dagster.yaml names the formatter and the filter, so that every process that executes a step writes JSON beside Dagster's
own text. A line states the reason: the error and its stack trace, a check's description, the reason of a decision.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import dagster as dg

from accident_reco.defs.dagster_internals import SensorConsoleHandler
from accident_reco.log_lines import build_line

_Kind = dg.DagsterEventType
KEY_EVENTS: Final = frozenset(
    {
        _Kind.RUN_START,
        _Kind.RUN_SUCCESS,
        _Kind.RUN_FAILURE,
        _Kind.RUN_CANCELED,
        _Kind.STEP_SUCCESS,
        _Kind.STEP_FAILURE,
        _Kind.STEP_UP_FOR_RETRY,
        _Kind.ASSET_MATERIALIZATION,
        _Kind.ASSET_CHECK_EVALUATION,
    }
)
"""Dagster's own events that become lines whatever their level; the others are lines from level info on."""


class KeyEvents(logging.Filter):
    """Lets pass what code logs from level info on, and of Dagster's debug events those that tell how a run went."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record becomes a line."""
        event = _event(record)
        return record.levelno >= logging.INFO or (event is not None and event.event_type in KEY_EVENTS)


class JsonRunFormatter(logging.Formatter):
    """One JSON object per record: level, timestamp, event, the ids of run, job and step, and the reason."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """One line for a record of Dagster's log manager, of a sensor, or of any Python logger.

        A record's `fields` (`extra={"fields": {…}}`) become fields of the line.
        """
        meta: Mapping[str, Any] = getattr(record, "dagster_meta", {})
        event = _event(record)
        fields: dict[str, Any] = {
            "kind": event.event_type_value if event else None,
            "run_id": meta.get("run_id"),
            "job": meta.get("job_name"),
            "step": meta.get("step_key"),
            "sensor": meta.get("name"),
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
        }
        level = record.levelname.lower()
        if event is not None:
            level = _event_level(event, record.levelno)
            fields |= _describe(event)
        fields |= getattr(record, "fields", {})
        at = datetime.fromtimestamp(record.created, UTC)
        return build_line("dagster", level, meta.get("orig_message") or record.getMessage(), at, **fields)


def sensor_log(context: dg.SensorEvaluationContext | dg.RunStatusSensorContext) -> logging.Logger:
    """`context.log`, which writes JSON lines instead of text where the instance's runs do, the same words in both."""
    log = context.log
    console = [handler for handler in log.handlers if isinstance(handler, SensorConsoleHandler)]
    handlers = context.instance.get_yaml_python_handlers() if console else ()
    if handlers:
        log.handlers[:] = [handler for handler in log.handlers if handler not in console] + list(handlers)
    return log


def _event(record: logging.LogRecord) -> dg.DagsterEvent | None:
    event: dg.DagsterEvent | None = getattr(record, "dagster_meta", {}).get("dagster_event")
    return event


def _event_level(event: dg.DagsterEvent, number: int) -> str:
    """The level of a line: Dagster logs most events at debug, a failed check too."""
    if event.event_type == _Kind.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        if not check.passed:
            return "error" if check.severity == dg.AssetCheckSeverity.ERROR else "warning"
    return logging.getLevelName(max(number, logging.INFO)).lower()


def _describe(event: dg.DagsterEvent) -> dict[str, Any]:
    """What the event is about, and its reason."""
    error = getattr(event.event_specific_data, "error", None)
    if error is not None:
        # Dagster wraps the error that the code raised.
        cause = error.cause or error
        return {"error": " ".join(cause.message.split()), "exception": error.to_string()}
    if event.event_type == _Kind.ASSET_MATERIALIZATION:
        made = event.step_materialization_data.materialization
        reason = made.metadata.get("reason")
        text = made.description if reason is None else str(reason.value)
        return {"asset": made.asset_key.to_user_string(), "partition": made.partition, "reason": text}
    if event.event_type == _Kind.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        return {
            "asset": check.asset_key.to_user_string(),
            "check": check.check_name,
            "passed": check.passed,
            "reason": check.description,
        }
    return {}
