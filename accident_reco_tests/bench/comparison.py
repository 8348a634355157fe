"""What a comparison measures and how its turns become a ratio. Pure: no clock, no process, no file."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["rate", "speedup", "cost"]
"""How two sides compare: `rate` is ours / theirs of something per second, `speedup` their time / our time, `cost` our
time (or memory) / theirs."""


@dataclass(frozen=True)
class Options:
    """What one run of the command was asked for.

    Args:
        rounds: turns of each side.
        seconds: length of a turn under load.
        scale: share of the full amount of data, for a trial.
        folder: for temporary files; removed after the run.
        peers: environments of peers; kept between runs.
        report: shows a line of progress.
    """

    rounds: int
    seconds: float
    scale: float
    folder: Path
    peers: Path
    report: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Goal:
    """A bound that a figure has to keep: of the ratio, or of our own value where `of` is `ours`."""

    limit: float
    at: Literal["least", "most"] = "least"
    of: Literal["ratio", "ours"] = "ratio"

    def is_met(self, value: float) -> bool:
        """Whether the value keeps the bound."""
        return value >= self.limit if self.at == "least" else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at == 'least' else '≤'} {self.limit:g}"


@dataclass(frozen=True)
class Row:
    """One measured figure: ours alone, or ours and that of a peer in turns.

    Args:
        what: the work, with its size.
        ours, theirs: values of each turn; `theirs` is empty where there is no peer or it could not run.
        peer: name, version and licence of the other side.
        missing: why the peer could not be measured.
    """

    what: str
    unit: str
    ours: Sequence[float]
    peer: str = ""
    theirs: Sequence[float] = ()
    kind: Kind | None = None
    goal: Goal | None = None
    missing: str = ""

    @property
    def ratios(self) -> list[float]:
        """Ratio of each turn; empty without a peer."""
        pairs = zip(self.ours, self.theirs, strict=True) if self.theirs else ()
        return [theirs / ours if self.kind == "speedup" else ours / theirs for ours, theirs in pairs]

    @property
    def ratio(self) -> float | None:
        """Median ratio of the turns: what the machine did meanwhile has hit both sides of a turn alike."""
        return statistics.median(self.ratios) if self.theirs else None

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or nothing to compare with."""
        if self.goal is None:
            return None
        value = statistics.median(self.ours) if self.goal.of == "ours" else self.ratio
        return None if value is None else self.goal.is_met(value)

    def to_document(self) -> dict[str, Any]:
        """The row as JSON, with every turn."""
        ratios = self.ratios
        return {
            "what": self.what,
            "unit": self.unit,
            "kind": self.kind,
            "ratio": self.ratio,
            "ratio_range": [min(ratios), max(ratios)] if ratios else None,
            "ours": {"median": statistics.median(self.ours), "turns": list(self.ours)},
            "peer": self.peer or None,
            "theirs": {"median": statistics.median(self.theirs), "turns": list(self.theirs)} if self.theirs else None,
            "goal": asdict(self.goal) if self.goal else None,
            "goal_met": self.is_met,
            "missing": self.missing or None,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Row:
        """The row that `to_document` wrote."""
        theirs, goal = document["theirs"], document["goal"]
        return cls(
            document["what"],
            document["unit"],
            document["ours"]["turns"],
            document["peer"] or "",
            theirs["turns"] if theirs else (),
            document["kind"],
            Goal(**goal) if goal else None,
            document["missing"] or "",
        )


@dataclass(frozen=True)
class Run:
    """Under what a comparison was measured: facts about the machine, and the options that shape its figures."""

    machine: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Rows of one comparison. `error` is why it failed; `profile` where our time goes, taken when a goal is missed."""

    name: str
    question: str
    rows: Sequence[Row] = ()
    seconds: float = 0.0
    error: str = ""
    profile: str = ""
    run: Run = field(default_factory=Run)

    @property
    def missed(self) -> list[Row]:
        """Rows whose goal is not met."""
        return [row for row in self.rows if row.is_met is False]

    def to_document(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "name": self.name,
            "question": self.question,
            "run": asdict(self.run),
            "seconds": round(self.seconds, 1),
            "rows": [row.to_document() for row in self.rows],
            "error": self.error or None,
            "profile": self.profile or None,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Result:
        """The result that `to_document` wrote."""
        return cls(
            document["name"],
            document["question"],
            [Row.from_document(row) for row in document["rows"]],
            document["seconds"],
            document["error"] or "",
            document["profile"] or "",
            Run(**document["run"]),
        )


@dataclass(frozen=True)
class Comparison:
    """An entry of the command.

    Args:
        name: of `--only`.
        question: one line for the help and the report.
        module: has `compare(options) -> list[Row]`, and may have `profile(options) -> str`; imported when it runs.
        peers: other sides, for the help.
    """

    name: str
    question: str
    module: str
    peers: str = ""


Side = Callable[[], float]


def take_turns(
    sides: Mapping[str, Side], rounds: int, report: Callable[[str], None] = lambda line: None
) -> dict[str, list[float]]:
    """Values of each side, measured in turns. Each round starts with another side, so that none is always first."""
    names, values = list(sides), {name: [] for name in sides}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            report(f"round {number + 1} of {rounds}: {name}")
            values[name].append(sides[name]())
    return values


def find_exit_code(results: Iterable[Result]) -> int:
    """Exit code of the command: 1 where a comparison failed, else 4 where a goal is missed, else 0."""
    found = list(results)
    if any(result.error for result in found):
        return 1
    return 4 if any(result.missed for result in found) else 0
