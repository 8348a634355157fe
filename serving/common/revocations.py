"""Accounts that lost rights or changed their password: their earlier access tokens are rejected within seconds.

Tokens are verified offline; this list is read in the background, so that no request waits for the database. While it
cannot be read the last one applies, and tokens end when they expire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from accident_reco.storage import accounts
from accident_reco.storage.warehouse import Warehouse
from serving.common import logs
from serving.common.background import PeriodicTask
from serving.common.identity import Principal

POLL_SECONDS: Final = 5.0


class Revocations:
    """The list of one service, read every `POLL_SECONDS`."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._revoked: Mapping[str, float] = {}
        self._task = PeriodicTask("revocations", self._poll)
        self._log = logs.get("revocations")

    def start(self) -> None:
        """Read the list from now on."""
        self._task.start()

    def stop(self) -> None:
        """Stop reading; waits at most 5 s for a read in progress."""
        self._task.stop(5)

    def is_revoked(self, principal: Principal) -> bool:
        """Whether the token of a principal was issued before its account's tokens were revoked."""
        revoked_at = self._revoked.get(principal.subject)
        return revoked_at is not None and principal.issued_at is not None and principal.issued_at <= revoked_at

    def refresh(self) -> None:
        """Read the list. Blocks; raises SQLAlchemyError."""
        self._revoked = accounts.token_revocations(self._warehouse)

    def _poll(self) -> float:
        try:
            self.refresh()
        except SQLAlchemyError as error:
            self._log.warning("revocations cannot be read; the last list applies", error=type(error).__name__)
        return POLL_SECONDS
