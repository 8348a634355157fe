"""`make test`: pytest, and the failed tests once more, alone; names those that passed only then.

Real servers on two cores may miss a deadline, and a test that fails twice is broken. One that passes at its second try
has a wrong wait condition: it is listed at the end, so that it is corrected.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run_twice(arguments: list[str], folder: Path = ROOT) -> int:
    """Run pytest in a folder with these arguments, then what failed without them; returns the exit code."""
    command = [sys.executable, "-m", "pytest"]
    code = subprocess.run([*command, *arguments], cwd=folder, check=False).returncode
    if code != pytest.ExitCode.TESTS_FAILED:
        return code
    failed = read_failed(folder)
    again = [*command, "--last-failed", "--last-failed-no-failures", "none"]
    code = subprocess.run(again, cwd=folder, check=False).returncode
    passed = sorted(failed - read_failed(folder))
    if passed:
        print("\nPassed only at the second try, alone (correct what they wait for):", *passed, sep="\n  ", flush=True)
    return code


def read_failed(folder: Path) -> set[str]:
    """Ids of the tests that failed when they ran last."""
    record = folder / ".pytest_cache/v/cache/lastfailed"
    return set(json.loads(record.read_text(encoding="utf-8"))) if record.exists() else set()


def main() -> int:
    """Command line: every option is pytest's."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco_tests.second_try", description=__doc__)
    parser.epilog = "Every other option is passed to pytest."
    return run_twice(parser.parse_known_args()[1])


if __name__ == "__main__":
    sys.exit(main())
