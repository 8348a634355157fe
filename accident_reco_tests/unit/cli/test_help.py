"""Help: every command has examples that are commands, and importing the command line stays cheap."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from accident_reco.cli.app import app
from accident_reco.settings.plugins import installed_names
from accident_reco_tests.support.command_line import accident_reco

PROMISED = """
up pipeline stack demo status logs stop reset train backfill score drift rollback users keys backup verify restore
inspect official bench doctor version
"""
EXAMPLE = re.compile(r"accident-reco [^|>)\n]+")


def _commands(group: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """Words of each command that does something."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, *path, name)
        else:
            yield (*path, name)


COMMANDS = list(_commands(typer.main.get_command(app)))


def test_every_promised_command_exists() -> None:
    """The commands that the documentation promises."""
    assert {words[0] for words in COMMANDS} >= set(PROMISED.split())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_examples(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A description, and examples that call this command, with the name of an installed model in them."""
    monkeypatch.setenv("COLUMNS", "200")
    shown = accident_reco(*words, "--help")
    assert shown.exit_code == 0
    before, found, examples = shown.out.partition("Examples")
    assert found
    assert len(before.splitlines()[3].strip()) > 20, "it has a description"
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    assert lines
    assert "{model}" not in examples
    for line in lines:
        called = EXAMPLE.search(line)
        assert called, line
        assert shlex.split(called.group())[1 : len(words) + 1] == list(words)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_unknown_options_are_a_wrong_usage(words: tuple[str, ...]) -> None:
    """Exit code 2, nothing on the standard output."""
    outcome = accident_reco(*words, "--no-such-option")
    assert (outcome.exit_code, outcome.out) == (2, "")


def test_the_first_page_has_the_exit_codes() -> None:
    """All of them."""
    shown = " ".join(accident_reco("--help").out.split())
    for text in ("0 done", "1 failed", "2 wrong command", "3 recorded", "4 done with a negative", "130 Ctrl-C", "143"):
        assert text in shown


def test_completion_knows_the_models() -> None:
    """As the shell asks for it."""
    env = os.environ | {
        "_ACCIDENT_RECO_COMPLETE": "complete_bash",
        "COMP_WORDS": "accident-reco train ",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from accident_reco.cli.app import app; app(prog_name='accident-reco')"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == list(installed_names())


def test_the_command_line_imports_no_server_and_no_dagster() -> None:
    """Help and completion answer at once."""
    code = "import sys, accident_reco.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"dagster", "fastapi", "pandas", "numpy", "sqlalchemy", "mlflow", "sklearn", "onnxruntime"}
    assert heavy & set(loaded) == set()
