"""Scopes, roles and the principal of a request. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

SCOPES: Final = {
    "predict": "Request predictions, read models",
    "feedback": "Send outcomes of predictions",
    "monitor": "Read drift verdicts and reports",
    "train": "Request a training, send data and alerts",
    "admin": "Accounts, keys, audit, rollback",
}
ROLES: Final = {
    "user": frozenset({"predict", "feedback", "monitor"}),
    "admin": frozenset(SCOPES),
}
ACCOUNT_NAME: Final = r"^[a-z][a-z0-9._-]{1,63}$"


@dataclass(frozen=True)
class Principal:
    """An account (`ada`) or a machine's key (`key:<id>`) with the scopes it was granted.

    Args:
        issued_at: of its access token, in seconds UTC; None without one.
    """

    subject: str
    scopes: frozenset[str]
    issued_at: float | None = field(default=None, compare=False)


ANONYMOUS: Final = Principal("anonymous", frozenset(SCOPES))
"""Principal of every request where a setting turned authentication off."""


def get_principal(request: Request) -> Principal:
    """Principal of a request to an endpoint that requires a scope; other endpoints have none."""
    principal = request.scope["state"]["principal"]
    assert isinstance(principal, Principal)
    return principal
