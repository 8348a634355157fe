"""Where the steps of a run run: each in a process of its own, or all in one (`execution: {config: {in_process: {}}}`).

Dagster's own default starts every step with a new interpreter that imports everything again, seconds of processor time
each. Here one process imports the platform, and every step is a fork of it.
"""

from __future__ import annotations

from typing import Any, Final

import dagster as dg

PRELOADED: Final = ["accident_reco.definitions"]


def _forked(config: dict[str, Any]) -> dict[str, Any]:
    if "multiprocess" not in config:
        return config
    forkserver = {"forkserver": {"preload_modules": PRELOADED}}
    return {"multiprocess": {"start_method": forkserver, **config["multiprocess"]}}


FORKED_STEPS: Final = dg.multi_or_in_process_executor.configured(
    _forked,
    config_schema=dg.multi_or_in_process_executor.config_schema.as_field(),
    name="multi_or_in_process_executor",
)
