"""Resources that the auth service's routers share; built by the app, never global."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from accident_reco.settings import Settings
from accident_reco.storage import accounts
from accident_reco.storage.warehouse import Warehouse
from serving.auth.issuing import Issuer
from serving.auth.keys import KeyRing
from serving.auth.passwords import Passwords
from serving.common.guard import Guard
from serving.common.metrics import Metrics
from serving.common.problems import get_request_id


@dataclass(frozen=True)
class Context:
    """Passed to every router factory of the service."""

    settings: Settings
    metrics: Metrics
    warehouse: Warehouse
    keys: KeyRing
    passwords: Passwords
    issuer: Issuer
    guard: Guard

    async def audit(
        self,
        request: Request,
        action: str,
        *,
        actor: str | None = None,
        target: str | None = None,
        outcome: str = "ok",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Append an entry about this request to the audit log."""
        state = request.scope["state"]
        await asyncio.to_thread(
            accounts.audit,
            self.warehouse,
            actor or state.get("subject") or "unknown",
            action,
            target=target,
            outcome=outcome,
            address=request.client.host[:64] if request.client else None,
            request_id=get_request_id(request.scope),
            detail=detail,
        )
