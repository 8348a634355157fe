"""`python -m accident_reco.launch.official --check`: do publishers still answer as this release expects?

Needs internet access, fetches what each model checks, stores nothing, and prints what
differs. Exit status 1 where something differs that an ingestion needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from accident_reco.contract import Check, Model
from accident_reco.registry import models
from accident_reco.settings import Settings


def describe(model: str, check: Check) -> str:
    """One line of the report."""
    state = "ok     " if check.passed else "warning" if check.warn else "differs"
    return f"{state} {model} {check.name}: {check.reason}"


def run_checks(selected: Sequence[Model], settings: Settings) -> int:
    """Print the outcome of every check as soon as it is known; returns the number of those that differ."""
    differing = 0
    for model in selected:
        for check in model.check_official(settings):
            differing += not (check.passed or check.warn)
            sys.stdout.write(describe(model.name, check) + "\n")
            sys.stdout.flush()
    return differing


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the module."""
    parser = argparse.ArgumentParser(prog="official", description=__doc__)
    parser.add_argument("--check", action="store_true", required=True, help="compare the publishers' answers")
    parser.parse_args(arguments)
    settings = Settings.load()
    return 1 if run_checks(list(models(settings).values()), settings) else 0


if __name__ == "__main__":
    raise SystemExit(main())
