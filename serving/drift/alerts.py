"""`POST /alerts`: Alertmanager's webhook (payload version 4).

Firing alerts become at most one open training request per model. Alertmanager repeats an alert while it fires; it leads
to one training. A request that the retrain policy held back for a while is created again afterwards, so that a firing
alert is not lost to a cool-down.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response

from accident_reco.lifecycle.bundle import canonical_json
from accident_reco.lifecycle.retrain_requests import may_request_again
from accident_reco.storage import alerts, work_requests
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import request_work
from serving.common.app import build_router, json_response
from serving.common.body_limits import FewErrors
from serving.common.guard import Guard, RequiredScope, unauthorised
from serving.common.problems import Problem, responses
from serving.drift.context import Context
from serving.drift.schemas import AlertsResponse
from serving.drift.secret import is_authorized

MAX_ALERTS: Final = 500
OUTCOMES: Final = ("queued", "joined", "replayed", "resolved", "ignored")

Text = Annotated[str, Field(max_length=4_000)]


class Alert(BaseModel):
    """One alert of a notification; further fields are ignored."""

    status: Literal["firing", "resolved"]
    labels: Annotated[dict[str, Text], Field(max_length=100)] = {}
    annotations: Annotated[dict[str, Text], Field(max_length=100)] = {}
    startsAt: Annotated[str, Field(max_length=64)] = ""
    fingerprint: Annotated[str, Field(max_length=64)] = ""

    def compute_identity(self, model: str) -> str:
        """Id of one firing of this alert: equal for repetitions, different if it fires again after it was resolved."""
        alert = self.fingerprint or hashlib.sha256(canonical_json(self.labels)).hexdigest()
        return hashlib.sha256(f"{model}|{alert}|{self.startsAt}".encode()).hexdigest()


class Notification(BaseModel):
    """Alertmanager's webhook payload, version 4."""

    version: Literal["4"]
    alerts: Annotated[list[Alert], Field(max_length=MAX_ALERTS), FewErrors()]


class RequiredSecret(RequiredScope):
    """Requires the alert secret instead of a token: Alertmanager has no account."""

    def __init__(self, guard: Guard, secret: Callable[[], str]) -> None:
        super().__init__(guard, "train")
        self._secret = secret

    async def check(self, request: Request) -> None:
        """Raises Problem 401, before the body is read."""
        if not is_authorized(self._secret(), request.headers.get("authorization")):
            raise unauthorised(request, "not the alert secret", realm="alerts")
        request.scope["state"]["subject"] = "alertmanager"


def router(context: Context) -> APIRouter:
    """The endpoint."""
    routes = build_router("alerts", requires=Depends(RequiredSecret(context.guard, context.alert_secret)))
    received = context.metrics.counter("alerts", "Alerts received, by outcome", ("outcome",))

    @routes.post(
        "/alerts",
        status_code=202,
        summary="Alertmanager webhook: firing alerts request a training of the model in their labels",
        response_model=AlertsResponse,
        responses=responses(401, 413, 422, 503),
    )
    async def alerts(notification: Notification) -> Response:
        try:
            outcomes, requests = await asyncio.to_thread(
                process_alerts, context.warehouse, context.models, notification
            )
        except SQLAlchemyError as error:
            raise Problem(
                503,
                f"The warehouse cannot be written now ({type(error).__name__}).",
                kind="warehouse-down",
                headers={"Retry-After": "5"},
            ) from None
        for outcome, count in outcomes.items():
            received.labels(outcome).inc(count)
        counts = {outcome: outcomes.get(outcome, 0) for outcome in OUTCOMES}
        return json_response({**counts, "requests": requests}, 202)

    return routes


def process_alerts(
    warehouse: Warehouse, models: Collection[str], notification: Notification
) -> tuple[Counter[str], list[str]]:
    """Create or find the request of each alert; returns the number of alerts by outcome and the ids of the requests."""
    outcomes: Counter[str] = Counter()
    requests: dict[str, None] = {}
    for alert in notification.alerts:
        model = alert.labels.get("model", "")
        if model not in models:
            outcomes["ignored"] += 1
        elif alert.status == "resolved":
            outcomes["resolved"] += 1
        else:
            outcome, request_id = _process_alert(warehouse, model, alert)
            outcomes[outcome] += 1
            requests[request_id] = None
    return outcomes, list(requests)


def _process_alert(warehouse: Warehouse, model: str, alert: Alert) -> tuple[str, str]:
    identity = alert.compute_identity(model)
    known = alerts.find_alert(warehouse, identity)
    if known is not None and not may_request_again(warehouse, known["request_id"], model, datetime.now(UTC)):
        return "replayed", known["request_id"]
    outcome, request_id = "joined", work_requests.open_training(warehouse, model)
    name = alert.labels.get("alertname", "alert")[:128]
    summary = (alert.annotations.get("summary") or alert.annotations.get("description") or "")[:500]
    if request_id is None:
        # The key stays the same until the next training has ended: concurrent notifications create one request.
        request, new = request_work(
            warehouse,
            kind="training",
            model=model,
            source="alert",
            requested_by="alertmanager",
            reason=f"{name} fires{': ' + summary if summary else ''}",
            detail={"labels": _truncate_labels(alert.labels)},
            dedupe_key=f"alert:{model}:{work_requests.closed_trainings(warehouse, model)}",
        )
        request_id, outcome = request["id"], "queued" if new else "joined"
    if known is None:
        alerts.save_alert(
            warehouse, {"id": identity, "model": model, "name": name, "summary": summary, "request_id": request_id}
        )
    else:
        alerts.relink_alert(warehouse, identity, str(request_id))
    return outcome, str(request_id)


def _truncate_labels(labels: dict[str, str]) -> dict[str, Any]:
    return {name[:100]: value[:200] for name, value in sorted(labels.items())[:20]}
