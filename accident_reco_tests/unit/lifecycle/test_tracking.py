"""What a training leaves in MLflow, and what becomes of it while the tracker is away."""

import fcntl
import json
import time
from pathlib import Path

import pytest

from accident_reco.lifecycle.tracking import RejectedRun, TrackedRun, reachable, send_spooled, set_aside, spool
from accident_reco.lifecycle.tracking_spool import DOCUMENT, MAX_ATTEMPTS, REASON, REJECTED_DOCUMENT, load


def _run(version: str) -> TrackedRun:
    return TrackedRun(
        "accidents",
        f"accidents-{version}",
        {"trees": 3},
        {"roc_auc": 0.9},
        {"bundle_version": version},
        {"card.md": b"# card", "curves.png": b"\x89PNG"},
        history={"boosting/roc_auc": [(1, 0.8, 1_700_000_000_000), (2, 0.9, 1_700_000_001_000)]},
        tables={"slices": {"part": ["night", "day"], "rows": [3, None]}},
    )


def test_a_closed_port_is_not_reachable_and_a_file_is():
    """Asking takes a moment, not the minutes of MLflow's own retries."""
    assert not reachable("http://127.0.0.1:9/", seconds=0.5)
    assert reachable("sqlite:////nowhere/mlflow.db")


def _up() -> bool:
    return True


def _down() -> bool:
    return False


def _gate(version: str) -> TrackedRun:
    return TrackedRun("accidents", f"accidents-{version}-gate", {}, {}, {"bundle_version": version}, joins=True)


def test_spooled_runs_arrive_whole_and_once(tmp_path: Path):
    """Everything that was to be logged is sent, then forgotten; the key stays the same from attempt to attempt."""
    runs = [_run("a"), _run("b")]
    for run in runs:
        spool(tmp_path, run)
    got: list[TrackedRun] = []
    assert send_spooled(tmp_path, got.append, _up).sent == 2
    assert got == runs
    assert [run.key for run in got] == [run.key for run in runs]
    assert send_spooled(tmp_path, got.append, _up).sent == 0


def test_half_a_run_is_never_sent(tmp_path: Path):
    """A process that died while spooling leaves artifacts without the document."""
    place = spool(tmp_path, _run("a"))
    (place / DOCUMENT).unlink()
    assert send_spooled(tmp_path, lambda run: pytest.fail(run.name), _up).sent == 0


def test_a_tracker_that_fails_again_keeps_the_rest(tmp_path: Path):
    """What was not sent waits for the next time, and an absent tracker uses up no attempt."""
    spool(tmp_path, _run("a"))
    spool(tmp_path, _run("b"))
    sent: list[str] = []

    def fails_second(run: TrackedRun) -> None:
        if sent:
            raise ConnectionError("away again")
        sent.append(run.name)

    assert send_spooled(tmp_path, fails_second, _down).sent == 1
    for _ in range(MAX_ATTEMPTS + 1):
        assert send_spooled(tmp_path, fails_second, _down).rejected == {}
    assert send_spooled(tmp_path, lambda run: sent.append(run.name), _up).sent == 1
    assert sent == ["accidents-a", "accidents-b"]


def _rejects(bad: str, sent: list[str], error: Exception):
    def send(run: TrackedRun) -> None:
        if run.name == bad:
            raise error
        sent.append(run.name)

    return send


def test_a_rejected_run_is_set_aside_with_the_reason(tmp_path: Path):
    """It delays no other run, is not sent again, and can be released by renaming its document."""
    for version in ("a", "b", "c"):
        spool(tmp_path, _run(version))
    sent: list[str] = []
    report = send_spooled(tmp_path, _rejects("accidents-a", sent, RejectedRun("bad name")), _down)
    aside = tmp_path / "accidents-a"
    assert (report.sent, report.rejected) == (2, {str(aside): "bad name"})
    assert sent == ["accidents-b", "accidents-c"]
    assert (aside / REASON).read_text() == "bad name\n"
    assert send_spooled(tmp_path, lambda run: pytest.fail(run.name), _up).sent == 0
    (aside / REJECTED_DOCUMENT).rename(aside / DOCUMENT)
    assert send_spooled(tmp_path, lambda run: sent.append(run.name), _up).sent == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_always_fails_delays_none_and_is_set_aside_in_the_end(tmp_path: Path):
    """The tracker answers, but not to this run (an error 500): each time the others go first, then it is left."""
    spool(tmp_path, _run("a"))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        spool(tmp_path, _run("b"))
        sent: list[str] = []
        report = send_spooled(tmp_path, _rejects("accidents-a", sent, RuntimeError("500")), _up)
        assert sent == ["accidents-b"]
        assert bool(report.rejected) == (attempt == MAX_ATTEMPTS)
    assert (tmp_path / "accidents-a" / REASON).read_text() == "500\n"


def test_a_run_that_hangs_until_the_process_is_killed_goes_last(tmp_path: Path):
    """The attempt counts although nothing was reported of it."""
    spool(tmp_path, _run("a"))
    spool(tmp_path, _run("b"))
    with pytest.raises(KeyboardInterrupt):
        send_spooled(tmp_path, _rejects("accidents-a", [], KeyboardInterrupt()), _up)
    sent: list[str] = []
    send_spooled(tmp_path, lambda run: sent.append(run.name), _up)
    assert sent == ["accidents-b", "accidents-a"]


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"artifacts": ["gone"]}', '{"artifacts": []}', "\x00", "[" * 100_000]
)
def test_a_damaged_document_is_set_aside(tmp_path: Path, text: str):
    """A disk that was full, or an edit by hand: it is no reason to send nothing any more."""
    (spool(tmp_path, _run("a")) / DOCUMENT).write_text(text)
    spool(tmp_path, _run("b"))
    sent: list[str] = []
    report = send_spooled(tmp_path, lambda run: sent.append(run.name), _down)
    assert (sent, list(report.rejected)) == (["accidents-b"], [str(tmp_path / "accidents-a")])


def test_a_decision_waits_for_its_run(tmp_path: Path):
    """Sent alone it would make a run of its own; the run of a rejected one never comes, so it goes then."""
    spool(tmp_path, _run("a"))
    spool(tmp_path, _gate("a"))
    sent: list[str] = []
    send_spooled(tmp_path, _rejects("accidents-a", sent, RuntimeError("500")), _up)
    assert sent == []
    set_aside(tmp_path / "accidents-a", "why")
    send_spooled(tmp_path, lambda run: sent.append(run.name), _up)
    assert sent == ["accidents-a-gate"]


def test_one_process_sends_at_a_time_and_none_begins_late(tmp_path: Path):
    """Two trainings that end together would send each spooled run twice."""
    directory = tmp_path / "mlflow"
    spool(directory, _run("a"))
    with (tmp_path / "mlflow.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert send_spooled(directory, lambda run: pytest.fail(run.name), _up).sent == 0
    assert send_spooled(directory, lambda run: pytest.fail(run.name), _up, deadline=time.monotonic()).sent == 0
    assert send_spooled(directory, lambda run: None, _up).sent == 1


def test_a_run_spooled_before_there_were_keys_has_one(tmp_path: Path):
    """Folders of an earlier release: the same key at each attempt."""
    document = spool(tmp_path, _run("a")) / DOCUMENT
    raw = json.loads(document.read_text())
    del raw["key"]
    document.write_text(json.dumps(raw))
    assert load(document.parent).key == load(document.parent).key != ""
