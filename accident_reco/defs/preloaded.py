"""Imported by the process whose forks are runs and steps, and by nothing else: builds the definitions once for them."""

from __future__ import annotations

from contextlib import suppress

from accident_reco.definitions import build_once

with suppress(Exception):  # each run reports its own error, such as a wrong setting
    build_once()
