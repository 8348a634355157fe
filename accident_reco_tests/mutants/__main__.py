"""Runs mutmut on the modules of `decisions.toml` and compares the survivors with the accepted ones.

`python -m accident_reco_tests.mutants [NAME …]` prints a table, and every survivor that is not accepted. Each module is
run against its own tests only, in a directory of its own: nothing in the checkout changes.
mutmut changes the bodies of functions; constants, defaults of dataclasses and properties are outside of its reach.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("decisions.toml")
MIN_KILLED = 0.95
KILLED = frozenset({"killed", "timeout", "segfault"})


@dataclass(frozen=True)
class Survivor:
    """A change that no test noticed: lines of the function before and after it, without indentation."""

    line: int
    function: str
    before: str
    after: str

    def is_covered_by(self, accepted: Mapping[str, str]) -> bool:
        """Whether one replacement of `was` by `becomes` makes this change, in the function that is named, if one is."""
        was, becomes = accepted["was"], accepted["becomes"]
        places = [at for at in range(len(self.before)) if self.before.startswith(was, at)]
        return accepted.get("function", self.function) == self.function and any(
            self.before[:at] + becomes + self.before[at + len(was) :] == self.after for at in places
        )

    def __str__(self) -> str:
        return f"line {self.line}, {self.function}\n    - {self.before}\n    + {self.after}"


@dataclass(frozen=True)
class Outcome:
    """Counts of one module, its survivors without an accepted reason, and accepted reasons that nothing needs."""

    total: int
    killed: int
    unlisted: Sequence[Survivor]
    unused: Sequence[Mapping[str, str]]

    @property
    def share(self) -> float:
        return self.killed / self.total

    @property
    def passed(self) -> bool:
        return self.share >= MIN_KILLED and not self.unlisted


def run(root: Path, entry: Mapping[str, Any], everywhere: Sequence[Mapping[str, str]], jobs: int) -> Outcome:
    """Mutate one module of the checkout at `root`. Raises RuntimeError when its tests fail without any mutation."""
    module = Path(entry["module"])
    packages = sorted(init.parent.name for init in root.glob("*/__init__.py"))
    with tempfile.TemporaryDirectory(prefix="mutants-") as name, chdir(name):
        for package in packages:
            Path(package).symlink_to(root / package)
        Path("pyproject.toml").write_bytes((root / "pyproject.toml").read_bytes())
        Path("setup.cfg").write_text(_config(packages, entry), encoding="utf-8")
        dotted = ".".join(module.with_suffix("").parts)
        functions = [f"{dotted}.x_{function}__mutmut_*" for function in entry.get("functions", ())]
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs), *functions]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        results = Path("mutants", f"{module}.meta")
        if done.returncode or not results.is_file():
            raise RuntimeError(f"mutmut could not run on {module}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        codes = json.loads(results.read_text(encoding="utf-8"))["exit_code_by_key"]
        codes = {mutant: code for mutant, code in codes.items() if not functions or code is not None}
        alive = [mutant for mutant, code in codes.items() if status_by_exit_code[code] not in KILLED]
        survivors = [_survivor(mutant, module) for mutant in alive]
    accepted = entry.get("accepted", [])
    unlisted = [one for one in survivors if not any(one.is_covered_by(reason) for reason in [*everywhere, *accepted])]
    unused = [reason for reason in accepted if not any(one.is_covered_by(reason) for one in survivors)]
    return Outcome(len(codes), len(codes) - len(alive), unlisted, unused)


def _config(packages: Sequence[str], entry: Mapping[str, Any]) -> str:
    lists = {
        "source_paths": packages,
        "only_mutate": [entry["module"]],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:schemathesis"],  # whose import takes seconds
        "pytest_add_cli_args_test_selection": entry["tests"],
    }
    lines = [line for key, values in lists.items() for line in (f"{key} =", *(f"    {value}" for value in values))]
    return "\n".join(["[mutmut]", "use_git_change_detection = false", *lines, ""])


def _survivor(mutant: str, module: Path) -> Survivor:
    diff = [line for line in get_diff_for_mutant(mutant, path=module).splitlines() if line[:3] not in ("---", "+++")]
    before, after = ("\n".join(line[1:].strip() for line in diff if line[0] == sign) for sign in "-+")
    name, owner = orig_function_and_class_names_from_key(mutant)
    lines = [line.strip() for line in module.read_text(encoding="utf-8").splitlines()]
    start = next(at for at, line in enumerate(lines) if line.startswith((f"def {name}(", f"async def {name}(")))
    line = lines.index(before.split("\n")[0], start) + 1
    return Survivor(line, f"{owner}.{name}" if owner else name, before, after)


def main(arguments: Sequence[str], root: Path = ROOT, table: Path = TABLE) -> int:
    """Exit code: 0 when every module passed, 1 when one did not."""
    entries = tomllib.loads(table.read_text(encoding="utf-8"))
    everywhere = entries.pop("accepted", [])
    parser = argparse.ArgumentParser(prog="make mutants", description="Changes the decisions and runs their tests.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(entries)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(entries):
        parser.error(f"{', '.join(sorted(unknown))} is none of {', '.join(entries)}")
    print(f"{'':14} {'mutants':>7} {'killed':>7} {'':>7} {'accepted':>8} {'unlisted':>8}")
    failed = False
    for name in options.names or entries:
        try:
            outcome = run(root, entries[name], everywhere, options.jobs)
        except RuntimeError as error:
            failed = True
            print(f"{name:14} {error}", flush=True)
            continue
        failed |= not outcome.passed
        alive = outcome.total - outcome.killed
        print(
            f"{name:14} {outcome.total:7} {outcome.killed:7} {outcome.share:7.1%} "
            f"{alive - len(outcome.unlisted):8} {len(outcome.unlisted):8}",
            flush=True,
        )
        for survivor in outcome.unlisted:
            print(f"  survived: {entries[name]['module']} {survivor}")
        for reason in outcome.unused:
            print(f"  accepted, but killed or gone: {reason['was']} -> {reason['becomes']}")
    if failed:
        print(f"fix: test what survived or accept it with its reason in {table.name}; {MIN_KILLED:.0%} must be killed")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
