"""Logs calls that were refused or failed: who made them, when, and with which status; not the invalid input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from serving.predict.context import Context
from serving.predict.prediction_log import Call, new_id


def log_refused_calls(context: Context) -> Callable[[Mapping[str, Any], str, int, float], None]:
    """What the service calls after each answer: with the scope, the route's template, the status and the seconds."""

    def answered(scope: Mapping[str, Any], route: str, status: int, seconds: float) -> None:
        subject = scope["state"].get("subject")
        # Whoever was not let in has no name, and nothing of theirs is kept.
        if status < 400 or subject is None:
            return
        model = None
        if route.startswith("/predict/"):
            model = route.split("/")[2]
        elif route.endswith("/infer"):
            model = scope["path_params"]["model"]
        slot = context.slots.get(model) if model else None
        if model is None or slot is None:
            return
        current = slot.current
        context.log.enqueue(
            Call(
                model=model,
                version=None if current is None else current.version,
                request_id=scope["state"]["request_id"],
                user_name=subject,
                source={"csv": "csv", "infer": "v2"}.get(route.rpartition("/")[2], "json"),
                status=status,
                latency_ms=seconds * 1000,
                ids=[new_id()],
                inputs=[{}],
                scores=[None],
                answers=[None],
            )
        )

    return answered
