"""Every program that the documents name answers `--help`, and the small ones do what the README says of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from accident_reco_tests.running import ROOT, environment

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "Makefile")
PROGRAM = re.compile(r"python3? -m ((?:accident_reco_tests|accident_reco|serving)(?:\.\w+)*)(?: ([a-z][a-z-]+))?")
WITHOUT_WORDS = {"accident_reco_tests.docs.reference"}
"""Programs that take no words at all; `make docs` is compared with the README by a test of its own."""


def _programs() -> dict[str, set[str]]:
    """Module → the first words that documents write behind it."""
    found: dict[str, set[str]] = {}
    for name in DOCUMENTS:
        for module, word in PROGRAM.findall((ROOT / name).read_text(encoding="utf-8")):
            found.setdefault(module, set()).update({word} - {""})
    return {module: found[module] for module in sorted(found) if module not in WITHOUT_WORDS}


def _run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("module", "words"), _programs().items(), ids=_programs())
def test_every_program_helps(module: str, words: set[str]) -> None:
    """Exit code 0, what it does and the commands that the documents use; nothing is started."""
    told = _run(module, "--help")
    assert told.returncode == 0, told.stderr
    usage, _, about = told.stdout.partition("\n\n")
    assert usage.startswith("usage: ")
    assert len(about) > 40, "says what it does"
    assert {word for word in words if word not in told.stdout} == set()


def test_the_platform_is_prepared_without_being_started(tmp_path: Path) -> None:
    """`launch prepare` shows the first admin's password once; then a key is rotated."""
    env = environment(tmp_path / "home")
    first, second = (_run("accident_reco.launch", "prepare", env=env) for _ in range(2))
    assert re.search(r"^admin password: \S{12,}$", first.stdout, re.MULTILINE), first.stderr
    assert second.stdout == "prepared\n"
    rotated = _run("serving.auth", "rotate-keys", env=env)
    assert re.match(r"new signing key: \S+; the one before still verifies", rotated.stdout), rotated.stderr
