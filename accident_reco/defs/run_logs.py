"""Formats what runs log as JSON lines in the format of the services' own logs.

dagster.yaml names the class, so that every process that executes a step writes it beside Dagster's own text.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any


class JsonRunFormatter(logging.Formatter):
    """One JSON object per record: level, timestamp, event, and the run, job and step that logged it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """One line for a record of Dagster's log manager, or of a Python logger that it manages."""
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        line = {
            "service": "dagster",
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "event": meta.get("orig_message") or record.getMessage(),
            "kind": event.event_type_value if event else None,
            "run_id": meta.get("run_id"),
            "job": meta.get("job_name"),
            "step": meta.get("step_key"),
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in line.items() if value is not None}, default=str)
