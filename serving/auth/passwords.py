"""Passwords: argon2id, bounded work, and as much time for an account that does not exist as for one that does."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

MIN_LENGTH: Final = 10
MAX_LENGTH: Final = 128
# Each check takes 64 MiB for some tens of milliseconds: more at once would let logins exhaust the machine.
_AT_ONCE: Final = 2


class Passwords:
    """Hashes and checks passwords off the event loop."""

    def __init__(self) -> None:
        self._hasher = PasswordHash((Argon2Hasher(),))
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._nobody: str | None = None

    def hash_now(self, password: str) -> str:
        """Hash of a password. Blocks."""
        return self._hasher.hash(password)

    def turn(self) -> asyncio.Semaphore:
        """What to hold (`async with`) while a password is checked: few at once, the others wait."""
        return self._slots

    async def hash(self, password: str) -> str:
        """Hash of a password."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def warm_up(self) -> None:
        """Make the hash that unknown accounts are checked against; before the first `check`."""
        if self._nobody is None:
            self._nobody = await self.hash(secrets.token_urlsafe(24))

    async def check(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Whether it is the password, and a new hash where the stored one's parameters are outdated; in a turn.

        `stored` None is an account that does not exist: the same work is done, and the answer is no.
        """
        against = stored if stored is not None else self._nobody
        assert against is not None
        good, renewed = await asyncio.to_thread(self._verify, password, against)
        return (good, renewed) if stored is not None else (False, None)

    def _verify(self, password: str, stored: str) -> tuple[bool, str | None]:
        try:
            return self._hasher.verify_and_update(password, stored)
        except PwdlibError:
            return False, None
