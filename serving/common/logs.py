"""Structured JSON logs, one object per line on standard output; secrets are redacted by the name of their field."""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
import threading
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, BinaryIO

import orjson
import structlog

_SECRET = ("password", "secret", "token", "authorization", "api_key", "cookie")
_ALLOWED = {"token_id", "api_key_id"}


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the values of fields with the name of a secret."""
    for name in event:
        if _is_secret(name):
            event[name] = "[redacted]"
    return event


@lru_cache(maxsize=1024)  # a program has few names of fields, and each line needs all of its own
def _is_secret(name: str) -> bool:
    return name not in _ALLOWED and any(word in name.lower() for word in _SECRET)


def _dumps(event: Any, default: Any = str) -> bytes:
    return orjson.dumps(event, default=str)


class Lines:
    """Writes lines, those of one turn of an event loop together: each write is a system call, during which another
    thread may take the interpreter. Lines of other threads are written at once, after those that wait.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        atexit.register(self.flush)

    def __call__(self, *_: Any) -> Lines:
        """The logger of structlog: always this one."""
        return self

    def msg(self, line: bytes) -> None:
        """Write a line."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        with self._lock:
            # A loop that has ended flushes no more.
            is_scheduled = bool(self._waiting) and loop is self._loop
            self._waiting += line, b"\n"
            self._loop = loop
        if loop is None:
            self.flush()
        elif not is_scheduled:
            loop.call_soon(self.flush)

    debug = info = warning = error = critical = exception = msg

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            lines, self._waiting = self._waiting, []
            if lines:
                self._file.write(b"".join(lines))
                self._file.flush()


class _JsonLines(logging.Formatter):
    """Formats lines of the standard library's logging (uvicorn's start and stop) like those of structlog."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "service": self._service,
            "level": record.levelname.lower(),
            "timestamp": structlog.processors.TimeStamper(fmt="iso", utc=True)(None, "", {})["timestamp"],
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(event, default=str).decode()


def configure(service: str, level: str) -> None:
    """Set up logging of this process; called once, by its entry point."""
    number = getattr(logging, level.upper())
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    # The middleware logs each request; uvicorn's own line would be a second one.
    logging.getLogger("uvicorn.access").handlers[:] = []
    logging.getLogger("uvicorn.access").propagate = False

    def add_service(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("service", service)
        return event

    structlog.configure(
        processors=[
            add_service,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=Lines(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )


def get(name: str) -> Any:
    """A logger whose lines carry the name of a part of the service."""
    return structlog.get_logger(part=name)
