"""Every program in the documentation has `--help`; commands that need no running platform work as documented."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from accident_reco_tests.docs.pages import DOCUMENTS
from accident_reco_tests.support.running import ROOT, environment

PROGRAM = re.compile(r"python3? -m ((?:accident_reco_tests|accident_reco|serving)(?:\.\w+)*)(?: ([a-z][a-z-]+))?")
WITHOUT_ARGUMENTS = {"accident_reco_tests.docs.reference", "accident_reco_tests.docs.pictures"}
"""Programs without arguments; what they make has tests of its own."""


HELP = textwrap.dedent("""
    import json, os, runpy, sys
    import dagster, httpx, pandas, sqlalchemy.orm
    modules, folder = sys.argv[2:], sys.argv[1]
    codes = {}
    for module in modules:
        if os.fork() == 0:
            for stream in (1, 2):
                os.dup2(os.open(f"{folder}/{module}.{stream}", os.O_WRONLY | os.O_CREAT), stream)
            sys.argv, code = [module, "--help"], 0
            try:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            except SystemExit as end:
                code = end.code or 0
            sys.stdout.flush()
            os._exit(code)
        codes[module] = os.waitstatus_to_exitcode(os.wait()[1])
    print(json.dumps(codes))
""")
"""`python -m MODULE --help` of each module, as a fork of one process with the imports that most of them share."""


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


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """Module → exit code, output and errors of its `--help`."""
    folder = tmp_path_factory.mktemp("help")
    run = subprocess.run(
        [sys.executable, "-c", HELP, str(folder), *_programs()], cwd=ROOT, capture_output=True, timeout=120, check=True
    )
    return {
        module: (code, *((folder / f"{module}.{stream}").read_text(encoding="utf-8") for stream in (1, 2)))
        for module, code in json.loads(run.stdout).items()
    }


@pytest.mark.parametrize(("module", "words"), _programs().items(), ids=_programs())
def test_every_program_has_help(helps: dict[str, tuple[int, str, str]], module: str, words: set[str]) -> None:
    """Exit code 0, a description, and the commands that the documentation uses."""
    code, output, errors = helps[module]
    assert code == 0, errors
    usage, _, about = output.strip().partition("\n")
    assert usage.lower().startswith("usage: ")
    assert len(about) > 40, "it has a description"
    assert {word for word in words if word not in output} == set()


def test_prepare_creates_the_admin_and_keys_rotate(tmp_path: Path) -> None:
    """`accident-reco prepare` prints the first admin's password once; then a signing key is rotated."""
    env = environment(tmp_path / "home")
    first, second = (_run("accident_reco.cli", "prepare", env=env) for _ in range(2))
    assert re.search(r"^admin password: \S{12,}$", first.stdout, re.MULTILINE), first.stderr
    assert second.stdout == "prepared\n"
    rotated = _run("serving.auth", "rotate-keys", env=env)
    assert re.match(r"new signing key: \S+; the previous one still verifies", rotated.stdout), rotated.stderr
