"""Password hashing: argon2id with bounded concurrency, and equal time for unknown and known accounts."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

MIN_LENGTH: Final = 10
MAX_LENGTH: Final = 128
# Each check needs 64 MiB for some tens of milliseconds: unbounded logins would exhaust the machine.
_MAX_CONCURRENT: Final = 2


MIN_SCORE: Final = 3
"""Of zxcvbn's 0 to 4: at least 10^8 guesses, out of reach of guesses online and dear with a stolen hash."""
_RATED_LENGTH: Final = 72  # of more characters the estimate takes long and is not defined


def find_weakness(password: str, name: str) -> str | None:
    """Why a password is too easy to guess, in a sentence; None where it is not. Takes some milliseconds.

    Args:
        name: the account: its name in a password counts as known.
    """
    from zxcvbn import zxcvbn

    found = zxcvbn(password[:_RATED_LENGTH], user_inputs=[name, "dagster", "mlflow", "admin"])
    if found["score"] >= MIN_SCORE:
        return None
    feedback = found["feedback"]
    texts = [text.rstrip(".") for text in (feedback["warning"], *feedback["suggestions"]) if text]
    return f"{'. '.join(texts) or 'Add another word or two. Uncommon words are better'}."


class Passwords:
    """Hashes and checks passwords off the event loop."""

    def __init__(self) -> None:
        self._hasher = PasswordHash((Argon2Hasher(),))
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._dummy_hash: str | None = None

    def hash_blocking(self, password: str) -> str:
        """Hash of a password. Blocks."""
        return self._hasher.hash(password)

    def hashing_slot(self) -> asyncio.Semaphore:
        """Semaphore to hold (`async with`) around `check`: few checks run at once, the others wait."""
        return self._slots

    async def hash(self, password: str) -> str:
        """Hash of a password."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def warm_up(self) -> None:
        """Create the hash that passwords of unknown accounts are checked against; required before `check`."""
        if self._dummy_hash is None:
            self._dummy_hash = await self.hash(secrets.token_urlsafe(24))

    async def check(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Whether the password matches, and a new hash where the stored one has outdated parameters.

        Requires a `hashing_slot`. `stored` None is an unknown account: the same work is done and the result is False.
        """
        compared = stored if stored is not None else self._dummy_hash
        assert compared is not None
        is_valid, new_hash = await asyncio.to_thread(self._verify, password, compared)
        return (is_valid, new_hash) if stored is not None else (False, None)

    def _verify(self, password: str, stored: str) -> tuple[bool, str | None]:
        try:
            return self._hasher.verify_and_update(password, stored)
        except PwdlibError:
            return False, None
