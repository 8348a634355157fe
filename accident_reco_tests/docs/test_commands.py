"""Every program in the documentation has `--help`; commands that need no running platform work as documented."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from accident_reco_tests.docs.pages import DOCUMENTS
from accident_reco_tests.support.running import ROOT, environment

PROGRAM = re.compile(r"python3? -m ((?:accident_reco_tests|accident_reco|serving)(?:\.\w+)*)(?: ([a-z][a-z-]+))?")
WITHOUT_ARGUMENTS = {"accident_reco_tests.docs.reference", "accident_reco_tests.docs.pictures"}
"""Programs without arguments; what they make has tests of its own."""


def _programs() -> dict[str, set[str]]:
    """Module → the commands that the documentation uses with it."""
    found: dict[str, set[str]] = {}
    for path in (*DOCUMENTS, ROOT / "Makefile"):
        for module, word in PROGRAM.findall(path.read_text(encoding="utf-8")):
            found.setdefault(module, set()).update({word} - {""})
    return {module: found[module] for module in sorted(found) if module not in WITHOUT_ARGUMENTS}


def _run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("module", "words"), _programs().items(), ids=_programs())
def test_every_program_has_help(module: str, words: set[str]) -> None:
    """Exit code 0, a description, and the commands that the documentation uses."""
    help_ = _run(module, "--help")
    assert help_.returncode == 0, help_.stderr
    usage, _, about = help_.stdout.strip().partition("\n")
    assert usage.lower().startswith("usage: ")
    assert len(about) > 40, "it has a description"
    assert {word for word in words if word not in help_.stdout} == set()


def test_prepare_creates_the_admin_and_keys_rotate(tmp_path: Path) -> None:
    """`accident-reco prepare` prints the first admin's password once; then a signing key is rotated."""
    env = environment(tmp_path / "home")
    first, second = (_run("accident_reco.cli", "prepare", env=env) for _ in range(2))
    assert re.search(r"^admin password: \S{12,}$", first.stdout, re.MULTILINE), first.stderr
    assert second.stdout == "prepared\n"
    rotated = _run("serving.auth", "rotate-keys", env=env)
    assert re.match(r"new signing key: \S+; the previous one still verifies", rotated.stdout), rotated.stderr
