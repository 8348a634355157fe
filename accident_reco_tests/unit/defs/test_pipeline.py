"""How the pipeline orders runs: chains side by side, dependent ones after each other, none after a failure."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from accident_reco.contract import Step
from accident_reco.defs import pipeline
from accident_reco.defs.launching import FollowedRun, describe_step, range_tags
from accident_reco.defs.pipeline import Chain, parse_arguments, run_chains


class Runs:
    """Runs that end after a number of polls, with a record of what was started and ended."""

    def __init__(self, **polls: int) -> None:
        self.polls, self.record = polls, []
        self.active = self.most = 0

    def start(self, step: Step) -> FollowedRun:
        self.record.append(f"+{step.job}")
        self.active += 1
        self.most = max(self.most, self.active)
        return _Run(self, step.job, self.polls.get(step.job, 1))


class _Run(FollowedRun):
    def __init__(self, runs: Runs, job: str, polls: int) -> None:
        self.runs, self.job, self.polls = runs, job, polls

    def is_finished(self) -> bool:
        self.polls -= 1
        if self.polls > 0:
            return False
        self.runs.active -= 1
        self.runs.record.append(f"-{self.job}")
        if self.job.startswith("bad"):
            raise RuntimeError(f"{self.job} failed")
        return True


def _chain(name: str, *jobs: str, requires: tuple[str, ...] = ()) -> Chain:
    return Chain(name, (Step(job, "missing") for job in jobs), requires)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "POLL_SECONDS", 0.0)


def test_models_run_side_by_side() -> None:
    """The short chain does not wait for the long one, and each keeps its order."""
    runs = Runs(a1=5)
    assert run_chains([_chain("a", "a1", "a2"), _chain("b", "b1", "b2")], runs.start) == 4
    assert runs.record == ["+a1", "+b1", "-b1", "+b2", "-b2", "-a1", "+a2", "-a2"]


def test_a_model_waits_for_those_that_it_requires() -> None:
    """It reads their data: its first step is decided when their last one is done."""
    runs, decided = Runs(), []

    def dependent() -> Iterator[Step]:
        decided.extend(runs.record)
        yield Step("full", "missing")

    chains = [Chain("accidents_full", dependent(), ("accidents",)), _chain("accidents", "ingest", "train")]
    run_chains(chains, runs.start)
    assert decided == ["+ingest", "-ingest", "+train", "-train"]
    assert runs.record[-1] == "-full"


def test_at_most_two_runs_at_a_time() -> None:
    """As many as dagster.yaml allows: trainings use both cores and much memory."""
    runs = Runs(a=3, b=4, c=2)
    run_chains([_chain(name, name) for name in "abcd"], runs.start)
    assert runs.most == 2


def test_after_a_failure_nothing_new_starts() -> None:
    """What is in progress is followed to its end, so that its work is kept; the message has every cause."""
    runs = Runs(good=3)
    with pytest.raises(RuntimeError, match=r"^bad failed$"):
        run_chains([_chain("a", "bad", "never"), _chain("b", "good", "never"), _chain("c", "never")], runs.start)
    assert runs.record == ["+bad", "+good", "-bad", "-good"]
    with pytest.raises(RuntimeError, match=r"^bad1 failed\n✘ bad2 failed$"):
        run_chains([_chain("a", "bad1"), _chain("b", "bad2")], Runs().start)


def test_an_error_of_the_decision_is_one_of_the_chain() -> None:
    """Such as a source that cannot be read; other models' runs end first."""

    def unreadable() -> Iterator[Step]:
        raise OSError("no such folder")
        yield Step("never", "")

    runs = Runs()
    with pytest.raises(RuntimeError, match="no such folder"):
        run_chains([_chain("b", "good"), Chain("a", unreadable())], runs.start)
    assert runs.record == ["+good", "-good"]
    with pytest.raises(RuntimeError, match=r"^no such folder\n✘ no such folder$"):
        run_chains([Chain("a", unreadable()), Chain("b", unreadable())], runs.start)


@pytest.mark.parametrize(
    ("step", "title", "tags"),
    [
        (Step("train", "new data"), "train", {}),
        (Step("score", "new", "2023", "2023"), "score 2023", {"start": "2023", "end": "2023"}),
        (Step("score", "new", "2019", "2023"), "score 2019-2023", {"start": "2019", "end": "2023"}),
    ],
)
def test_partitions_of_a_step(step: Step, title: str, tags: dict[str, str]) -> None:
    """A range is one run; Dagster's tags name its first and last partition."""
    assert describe_step(step) == title
    assert range_tags(step) == {f"dagster/asset_partition_range_{end}": year for end, year in tags.items()}


@pytest.mark.parametrize(
    ("arguments", "launched_by"),
    [
        ([], "accident-reco pipeline"),
        (["--train", "movies"], "accident-reco train"),
        (["--backfill", "accidents", "2019", "2020"], "accident-reco backfill"),
        (["--launched-by", "accident-reco up"], "accident-reco up"),
    ],
)
def test_runs_name_the_command(arguments: list[str], launched_by: str) -> None:
    """Dagster's pages show it instead of `Manually launched`."""
    found: argparse.Namespace = parse_arguments(["--workspace", "workspace.yaml", *arguments])
    assert found.launched_by == launched_by
