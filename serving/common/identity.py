"""Who asks, and what they may do: scopes, roles, the principal of a request. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

SCOPES: Final = {
    "predict": "Ask for predictions, read models",
    "feedback": "Send labels and ratings",
    "monitor": "Read drift verdicts and reports",
    "train": "Ask for training, send alerts",
    "admin": "Accounts, keys, audit, rollback",
}
ROLES: Final = {
    "user": frozenset({"predict", "feedback", "monitor"}),
    "admin": frozenset(SCOPES),
}


ACCOUNT_NAME: Final = r"^[a-z][a-z0-9._-]{1,63}$"


@dataclass(frozen=True)
class Principal:
    """An account (`ada`) or a machine's key (`key:<id>`) with the scopes it was granted."""

    subject: str
    scopes: frozenset[str]


ANONYMOUS: Final = Principal("anonymous", frozenset(SCOPES))
"""Everybody, where a setting turned authentication off."""


def principal_of(request: Request) -> Principal:
    """Who asks. Only for endpoints that need a scope; others have no principal."""
    principal = request.scope["state"]["principal"]
    assert isinstance(principal, Principal)
    return principal
