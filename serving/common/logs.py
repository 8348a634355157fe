"""Structured JSON logs, one object per line on standard output; secrets are redacted by the name of their field."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

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
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def get(name: str) -> Any:
    """A logger whose lines carry the name of a part of the service."""
    return structlog.get_logger(part=name)
