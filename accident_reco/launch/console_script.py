"""Runs a console script of another package: `python -m accident_reco.launch.console_script dagster …`.

Its crashes are JSON lines, as those of the platform's own programs, which report them themselves.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from accident_reco.log_lines import report_crashes, report_failure


def main() -> int:
    """Run the script that the first argument names, with the other arguments; returns its exit code."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.stdout.write(f"usage: python -m accident_reco.launch.console_script NAME [ARGUMENT …]\n\n{__doc__}\n")
        return 0 if len(sys.argv) > 1 else 2
    name = sys.argv[1]
    report_crashes(name)
    (script,) = entry_points(group="console_scripts", name=name) or (None,)
    if script is None:
        report_failure(name, f"no installed package has the console script {name!r}")
        return 2
    sys.argv = sys.argv[1:]
    return int(script.load()() or 0)


if __name__ == "__main__":
    sys.exit(main())
