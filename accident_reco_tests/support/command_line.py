"""Runs `accident-reco` in the process of the test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from accident_reco.cli.app import app


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The output as JSON."""
        return json.loads(self.out)


def accident_reco(*arguments: str, stdin: str | bytes | None = None) -> Outcome:
    """Run a command; an unexpected exception is raised."""
    result = CliRunner().invoke(app, [*arguments], input=stdin, catch_exceptions=False)
    return Outcome(result.exit_code, result.stdout, result.stderr)
