"""What a training leaves in MLflow, and what becomes of it while the tracker is away."""

from pathlib import Path

import pytest

from accident_reco.lifecycle.tracking import TrackedRun, reachable, send_spooled, spool


def _run(version: str) -> TrackedRun:
    return TrackedRun(
        "accidents", f"accidents-{version}", {"trees": 3}, {"roc_auc": 0.9}, {"bundle_version": version},
        {"card.md": b"# card", "curves.png": b"\x89PNG"},
    )  # fmt: skip


def test_a_closed_port_is_not_reachable_and_a_file_is():
    """Asking takes a moment, not the minutes of MLflow's own retries."""
    assert not reachable("http://127.0.0.1:9/", seconds=0.5)
    assert reachable("sqlite:////nowhere/mlflow.db")


def test_spooled_runs_arrive_whole_and_once(tmp_path: Path):
    """Everything that was to be logged is sent, then forgotten."""
    spool(tmp_path, _run("a"))
    spool(tmp_path, _run("b"))
    got: list[TrackedRun] = []
    assert send_spooled(tmp_path, got.append) == 2
    assert got == [_run("a"), _run("b")]
    assert send_spooled(tmp_path, got.append) == 0


def test_half_a_run_is_never_sent(tmp_path: Path):
    """A process that died while spooling leaves artifacts without the document."""
    place = spool(tmp_path, _run("a"))
    (place / "run.json").unlink()
    assert send_spooled(tmp_path, lambda run: pytest.fail(run.name)) == 0


def test_a_tracker_that_fails_again_keeps_the_rest(tmp_path: Path):
    """What was not sent waits for the next time."""
    spool(tmp_path, _run("a"))
    spool(tmp_path, _run("b"))
    sent: list[str] = []

    def fails_second(run: TrackedRun) -> None:
        if sent:
            raise ConnectionError("away again")
        sent.append(run.name)

    with pytest.raises(ConnectionError):
        send_spooled(tmp_path, fails_second)
    assert send_spooled(tmp_path, lambda run: sent.append(run.name)) == 1
    assert sent == ["accidents-a", "accidents-b"]
