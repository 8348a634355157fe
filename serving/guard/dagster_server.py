"""Runs Dagster's web server behind the guard: `python -m serving.guard.dagster_server`, with its own options.

The guard is in the same process, around its app: a second port behind a proxy would be reachable past the guard.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from typing import Any

import uvicorn

from accident_reco.log_lines import report_crashes, report_failure
from accident_reco.settings import Settings, SettingsError
from serving.guard.app import build_page_guard


def main(arguments: Sequence[str] | None = None) -> int:
    """Replace the app that the web server runs, then run it. Returns 2 for a wrong setting."""
    report_crashes("dagster")
    try:
        settings = Settings.load()
    except SettingsError as error:
        report_failure("dagster", str(error))
        return 2
    run = uvicorn.run

    def run_guarded(app: Any, **options: Any) -> None:
        run(build_page_guard(app, settings, "dagster"), **options)

    uvicorn.run = run_guarded
    options = list(sys.argv[1:] if arguments is None else arguments)
    sys.argv = ["dagster-webserver", *options, *(["--read-only"] if settings.page_read_only else [])]
    runpy.run_module("dagster_webserver", run_name="__main__", alter_sys=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
