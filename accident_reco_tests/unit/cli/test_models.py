"""`train` on a running platform, `backfill`, `score`, `drift` and `inspect`: arguments, outcomes and exit codes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from accident_reco.contract import FileReport
from accident_reco.launch.locks import sole_platform
from accident_reco.models.accidents.assets.partitions import register_years
from accident_reco.models.accidents.model import AccidentModel
from accident_reco.registry import get_model
from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import advance_request, open_requests
from accident_reco_tests.support.command_line import accident_reco


@contextmanager
def _platform_that_ends_trainings(home: Path, warehouse: Warehouse, status: str) -> Iterator[None]:
    """A held lock, and what the sensor does with the first request: running, then the end."""
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            for request in open_requests(warehouse, "training"):
                if request["status"] == "queued":
                    advance_request(warehouse, request["id"], "running", run_id="run1")
                else:
                    advance_request(warehouse, request["id"], status, outcome="as the gate says")
            time.sleep(0.05)

    worker = threading.Thread(target=work)
    with sole_platform(home):
        worker.start()
        try:
            yield
        finally:
            ended.set()
            worker.join()


@pytest.mark.parametrize(("status", "code"), [("promoted", 0), ("refused", 4), ("failed", 1), ("done", 1)])
def test_training_of_a_running_platform(warehouse: Warehouse, home: Path, status: str, code: int) -> None:
    """Requested as through the API, so that one training runs at a time; its end decides the exit code."""
    with _platform_that_ends_trainings(home, warehouse, status):
        outcome = accident_reco("train", "movies", "--json")
    assert outcome.exit_code == code
    assert outcome.document == {"model": "movies", "status": status, "reason": "as the gate says", "run_id": "run1"}


def test_training_that_is_not_awaited(warehouse: Warehouse, home: Path) -> None:
    """The request stays, with the operator's name; it counts as a person's, not as the policy's."""
    with sole_platform(home):
        outcome = accident_reco("train", "movies", "--no-wait", "--json")
    (request,) = open_requests(warehouse)
    assert outcome.document["id"] == request["id"]
    assert (request["kind"], request["model"], request["source"]) == ("training", "movies", "api")
    assert request["requested_by"].endswith("(command line)")


def test_training_whose_platform_stops(warehouse: Warehouse, home: Path) -> None:
    """The command ends with a message; the request stays for the next start."""
    lock = sole_platform(home)
    lock.__enter__()
    releaser = threading.Thread(target=lambda: (_await_request(warehouse), lock.__exit__(None, None, None)))
    releaser.start()
    outcome = accident_reco("train", "movies")
    releaser.join()
    assert outcome.exit_code == 1
    assert "the platform stopped; request" in outcome.err
    assert len(open_requests(warehouse)) == 1


def _await_request(warehouse: Warehouse) -> None:
    while not open_requests(warehouse):
        time.sleep(0.05)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "cats"),
        ("backfill", "cats", "--years", "2019"),
        ("backfill", "movies", "--years", "2019 to 2020"),
        ("backfill", "movies"),
        ("drift", "cats"),
        ("drift", "movies", "--against", "2019"),
        ("score", "people.csv", "--model", "movies"),
        ("score", "people.csv", "--model", "cats"),
    ],
    ids=" ".join,
)
def test_wrong_arguments(warehouse: Warehouse, arguments: tuple[str, ...]) -> None:
    """Exit code 2 and nothing on the standard output."""
    outcome = accident_reco(*arguments)
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert outcome.err


def test_without_a_version(warehouse: Warehouse, tmp_path: Path) -> None:
    """Nothing to score with, nothing to compare with."""
    scored = accident_reco("score", str(tmp_path / "people.csv"))
    assert (scored.exit_code, scored.out) == (1, "")
    assert "fix: accident-reco train accidents" in scored.err
    compared = accident_reco("drift", "movies")
    assert compared.exit_code == 1
    assert "movies has no champion yet" in compared.err


@pytest.mark.parametrize(("first", "last"), [("2004", "2006"), ("2019", "2018"), ("2019", "3000"), ("x", "y")])
def test_ranges_that_are_no_years(first: str, last: str) -> None:
    """The message has the years that exist."""
    training = AccidentModel().training()
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(ValueError, match="is not available: no year"):
            training.backfill_steps(instance, first, last)
        register_years(instance, [2018, 2019])
        with pytest.raises(ValueError, match="is not a range of the years that the source offers: 2018, 2019"):
            training.backfill_steps(instance, first, last)


def test_backfills() -> None:
    """Years are ingested again and loaded; a model without partitions of its own has none."""
    with dg.DagsterInstance.ephemeral() as instance:
        register_years(instance, [2019, 2020, 2021])
        steps = AccidentModel().training().backfill_steps(instance, "2019", "2021")
        assert [(step.job, step.first, step.last) for step in steps] == [
            ("ingest_accidents", "2019", "2021"),
            ("load_accidents", None, None),
        ]
        register_years(instance, [2018])
        steps = AccidentModel().training().backfill_steps(instance, "2018", "2021")
        assert [(step.first, step.last) for step in steps] == [("2018", "2018"), ("2019", "2021"), (None, None)]
        second = AccidentModel("accidents_full", feature_set="full")
        assert second.training().backfill_steps(instance, "2019", "2021") == ()
        assert get_model(Settings.load(), "movies").training().backfill_steps(instance, "2019", "2021") == ()


def test_inspected_files(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each file that a model recognises; 4 where one cannot be read, 1 where there is none."""
    reports: list[FileReport] = []

    def inspect_files(_model: AccidentModel, folder: Path) -> Sequence[FileReport]:
        assert folder == tmp_path
        return reports

    monkeypatch.setattr(AccidentModel, "inspect_files", inspect_files)
    chosen = ("--model", "accidents")
    nothing = accident_reco("inspect", str(tmp_path), *chosen)
    assert (nothing.exit_code, nothing.err) == (1, f"no model recognises a file in {tmp_path}\n")
    reports.append(FileReport("a.csv", "usagers 2023", "latin-1", 10, {"no key": 2}))
    assert accident_reco("inspect", str(tmp_path), *chosen).out == (
        "file\ta.csv\taccidents\tusagers 2023\tlatin-1\t10\t2 rows: no key\n"
    )
    reports.append(FileReport("b.csv", "lieux 2023", problem="it is HTML"))
    outcome = accident_reco("inspect", str(tmp_path), *chosen, "--json")
    assert outcome.exit_code == 4
    assert [report["problem"] for report in outcome.document["accidents"]] == ["", "it is HTML"]
    assert not home.exists()
    assert accident_reco("inspect", str(tmp_path / "absent")).exit_code == 2
