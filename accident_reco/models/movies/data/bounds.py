"""Bounds of ids and times that files and requests share. Imports nothing, so that servers stay small."""

from __future__ import annotations

from typing import Final

MAX_ID: Final = 2**31 - 1
"""Ids fit in 31 bits, so that a (user, movie) pair fits in one unsigned 64-bit key."""
MIN_RATED_AT: Final = 694_224_000
"""1992-01-01 in seconds UTC: before any rating on the web."""
