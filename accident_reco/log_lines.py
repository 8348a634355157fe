"""Log lines as JSON, one object per line, as Loki reads them: their form, and the end of a program that fails.

Imports the standard library only: it runs before a program's settings and packages are loaded.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO


def build_line(service: str, level: str, event: str, at: datetime | None = None, **fields: object) -> str:
    """One JSON object without line breaks; fields that are None are left out.

    Args:
        level: debug, info, warning, error or critical.
        at: time of the event; now if None.
    """
    time = (at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
    line = {"service": service, "level": level, "timestamp": time, "event": event, **fields}
    return json.dumps({name: value for name, value in line.items() if value is not None}, default=str)


def report_failure(service: str, message: str, stream: TextIO | None = None) -> None:
    """Report on standard error why a program does not start: a JSON line, or on a terminal the message itself."""
    stream = sys.stderr if stream is None else stream
    stream.write((message if stream.isatty() else build_line(service, "critical", message)) + "\n")
    stream.flush()


def report_crashes(service: str) -> None:
    """Report exceptions that end this process or one of its threads as one JSON line each instead of a traceback.

    On a terminal Python's own traceback stays.
    """
    if sys.stderr.isatty():
        return

    def in_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            _write_crash(service, error, f"{service} ended: {_summary(error)}")

    def in_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
            name = failed.thread.name if failed.thread else "unknown"
            _write_crash(service, failed.exc_value, f"thread {name} ended: {_summary(failed.exc_value)}")

    sys.excepthook = in_process
    threading.excepthook = in_thread


def _write_crash(service: str, error: BaseException, event: str) -> None:
    trace = "".join(traceback.format_exception(error))
    line = build_line(service, "critical", event, error=_summary(error), exception=trace, process=os.getpid())
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _summary(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
