"""What runs log, as JSON lines in the shape of the services' own logs. Named by dagster.yaml, so that every process
that executes a step writes it beside Dagster's own text."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any


class RunLines(logging.Formatter):
    """One object a line: level, timestamp, event, and which run, job and step speaks."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """A record of Dagster's log manager, or of a Python logger that it manages."""
        about = getattr(record, "dagster_meta", {})
        happened = about.get("dagster_event")
        line = {
            "service": "dagster",
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "event": about.get("orig_message") or record.getMessage(),
            "kind": happened.event_type_value if happened else None,
            "run_id": about.get("run_id"),
            "job": about.get("job_name"),
            "step": about.get("step_key"),
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in line.items() if value is not None}, default=str)
