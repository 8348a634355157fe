"""Random ids, from the operating system's random numbers without a system call for each."""

from __future__ import annotations

import os
from typing import Final

_BYTES: Final = 8
_AT_ONCE: Final = 256
# Taking the last one is a single operation of the interpreter: threads never get the same one.
_POOL: Final[list[str]] = []
os.register_at_fork(after_in_child=_POOL.clear)


def random_hex() -> str:
    """16 hexadecimal digits that nobody can predict."""
    try:
        return _POOL.pop()
    except IndexError:
        digits = os.urandom(_BYTES * _AT_ONCE).hex()
        size = 2 * _BYTES
        fresh = [digits[start : start + size] for start in range(0, len(digits), size)]
        taken = fresh.pop()
        _POOL.extend(fresh)
        return taken
