"""`status`, `logs`, `stop`, `reset`, `doctor` on homes that are empty, prepared or in use."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from accident_reco.launch import doctor
from accident_reco.launch.locks import sole_platform
from accident_reco.storage.process_states import ProcessState, write_states
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import request_work
from accident_reco_tests.support.command_line import accident_reco

GIB = 1 << 30


def test_status_before_the_first_start(home: Path) -> None:
    """Exit code 4; nothing is created."""
    outcome = accident_reco("status", "--json")
    assert outcome.exit_code == 4
    found = outcome.document
    assert (found["running"], found["services"], found["runs"], found["requests"]) == (None, [], [], [])
    assert {model["name"]: model["version"] for model in found["models"]} == {"accidents": None, "movies": None}
    assert not home.exists()
    assert "nothing runs" in accident_reco("status").out


def test_status_shows_open_requests(warehouse: Warehouse) -> None:
    """As lines and as JSON."""
    row, _ = request_work(
        warehouse, kind="training", model="movies", source="api", requested_by="ada", reason="new films"
    )
    outcome = accident_reco("status", "--json")
    (found,) = outcome.document["requests"]
    assert {name: found[name] for name in ("id", "kind", "model", "status", "requested_by", "reason")} == {
        "id": row["id"],
        "kind": "training",
        "model": "movies",
        "status": "queued",
        "requested_by": "ada",
        "reason": "new films",
    }
    assert f"request\t{row['id'][:8]}\ttraining\tmovies\tqueued\tada\tnew films\n" in accident_reco("status").out


def test_status_of_a_platform_that_is_not_ready(warehouse: Warehouse, home: Path) -> None:
    """The lock is held, nothing answers: the process is named, every service is not ready."""
    with sole_platform(home):
        outcome = accident_reco("status", "--json")
    assert outcome.exit_code == 4
    assert outcome.document["running"]["kind"] == "platform"
    assert {service["ready"] for service in outcome.document["services"]} == {False}


GIVEN_UP = ProcessState("drift", "given up", 7, 5, "2026-11-27T10:00:00+00:00", "was killed by SIGKILL; given up: …")
RESTARTED = ProcessState("auth", "running", 8, 1, "2026-11-27T10:00:00+00:00", "ended with exit code 1; restart 1 …")


def test_status_and_doctor_show_restarts_and_processes_that_were_given_up(warehouse: Warehouse, home: Path) -> None:
    """While the platform runs; the states that a killed launcher has left are not shown."""
    write_states(home, "platform", [ProcessState("predict", "running", 9), RESTARTED, GIVEN_UP])
    with sole_platform(home):
        shown = accident_reco("status").out
        found = doctor.examine()
        assert accident_reco("status", "--json").document["processes"][2]["state"] == "given up"
    assert "process\tpredict\trunning\t0\t\t\n" in shown
    assert "process\tdrift\tgiven up\t5\t2026-11-27 10:00:00\twas killed by SIGKILL; given up: …\n" in shown
    assert [(one.state, one.text) for one in found if one.check == "process"] == [
        ("warning", "auth ended with exit code 1; restart 1 …; restarts so far: 1"),
        ("problem", "drift was killed by SIGKILL; given up: …"),
    ]
    assert accident_reco("status", "--json").document["processes"] == []


def test_doctor_warns_of_a_home_that_others_can_read(tmp_path: Path) -> None:
    """With the command that mends it."""
    tmp_path.chmod(0o755)
    assert doctor.check_home(tmp_path).fix == f"chmod 700 {tmp_path}"
    tmp_path.chmod(0o700)
    assert doctor.check_home(tmp_path).state == "ok"


def test_logs(home: Path) -> None:
    """The last lines of one process, or of all with their names; an unknown process is one message."""
    assert accident_reco("logs").exit_code == 1
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "predict.log").write_text("one\ntwo\nthree\n")
    (home / "logs" / "drift.log").write_text("four\n")
    assert accident_reco("logs", "predict", "-n", "2").out == "two\nthree\n"
    assert accident_reco("logs", "-n", "1").out == "drift        | four\npredict      | three\n"
    unknown = accident_reco("logs", "cats")
    assert (unknown.exit_code, unknown.err) == (1, "there is no log of 'cats'; logs are drift, predict\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_following_logs_ends_by_signal(home: Path, number: int, code: int) -> None:
    """Also as a background job of a script, which ignores SIGINT: new lines, then the exit code of the signal."""
    (home / "logs").mkdir(parents=True)
    log = home / "logs" / "predict.log"
    log.write_text("first\n")
    command = [sys.executable, "-m", "accident_reco.cli", "logs", "predict", "--follow"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    )
    assert process.stdout
    with process.stdout:
        assert process.stdout.readline() == "first\n"
        with log.open("a") as file:
            file.write("second\n")
        assert process.stdout.readline() == "second\n"
        process.send_signal(number)
        assert process.wait(20) == code


HOLD = """
import signal, sys, time
from pathlib import Path
from accident_reco.launch.locks import sole_platform
from accident_reco.launch.signals import Stopped, stop_on_signals
stop_on_signals()
try:
    with sole_platform(Path(sys.argv[1])):
        print("held", flush=True)
        signal.pause()
except Stopped as stopped:
    sys.exit(stopped.exit_code)
"""


@pytest.fixture
def hold(home: Path) -> Callable[[], subprocess.Popen[str]]:
    """Starts a process that holds the home's lock as a platform does."""

    def start() -> subprocess.Popen[str]:
        home.mkdir(exist_ok=True)
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(home)], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        return process

    return start


def test_stop(home: Path, hold: Callable[[], subprocess.Popen[str]]) -> None:
    """Waits for the end; exit code 4 where nothing runs."""
    nothing = accident_reco("stop")
    assert (nothing.exit_code, nothing.err) == (4, f"nothing runs in {home}\n")
    with hold() as process:
        outcome = accident_reco("stop")
        assert outcome.out == f"stopped the platform of {home}, process {process.pid}\n"
        assert process.wait(20) == 143
    assert accident_reco("stop").exit_code == 4


def test_reset_asks_first(warehouse: Warehouse, home: Path) -> None:
    """No, an empty answer, and the end of the input keep the home."""
    for answer in ("n\n", "\n", ""):
        assert accident_reco("reset", stdin=answer).exit_code == 1
        assert (home / "warehouse.db").exists()
    outcome = accident_reco("reset", stdin="y\n")
    assert outcome.exit_code == 0
    assert outcome.out.endswith(f"deleted {home}\n")
    assert not home.exists()
    assert accident_reco("reset", "--yes").exit_code == 1


def test_reset_keeps_what_it_must_not_delete(
    home: Path, hold: Callable[[], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kind of directory, a home in use; databases elsewhere are named without their passwords."""
    home.mkdir()
    (home / "thesis.txt").touch()
    refused = accident_reco("reset", "--yes")
    assert refused.exit_code == 1
    assert "is no home of the platform" in refused.err
    (home / "installation-id").touch()
    with hold() as process:
        busy = accident_reco("reset", "--yes")
        process.terminate()
    assert busy.exit_code == 1
    assert "accident-reco stop" in busy.err
    assert (home / "thesis.txt").exists()
    monkeypatch.setenv("ACCIDENT_RECO_DATABASE_URL", "postgresql+psycopg2://ada:secret@db/w")
    done = accident_reco("reset", "--yes")
    assert done.exit_code == 0
    assert done.err == "stays: ACCIDENT_RECO_DATABASE_URL = postgresql+psycopg2://ada:***@db/w\n"


def test_doctor_of_a_good_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No problem; nothing is created."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    for place, name in enumerate(("DAGSTER", "AUTH", "PREDICT", "DRIFT", "MLFLOW")):
        monkeypatch.setenv(f"ACCIDENT_RECO_{name}_PORT", str(free + place if free < 65_000 else free - place))
    outcome = accident_reco("doctor", "--json")
    states = {finding["check"]: finding["state"] for finding in outcome.document}
    assert set(states) == {"python", "settings", "model", "home", "disk", "ports", "warehouse", "production"}
    assert states["ports"] == "ok"
    assert outcome.exit_code == (4 if "problem" in states.values() else 0)
    assert not home.exists()


def test_doctor_names_each_problem_and_its_fix(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port in use, an unknown variable, a damaged pointer, a warehouse that is away."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("ACCIDENT_RECO_AUTH_PORT", str(taken.getsockname()[1]))
        monkeypatch.setenv("ACCIDENT_RECO_AUHT_PORT", "1")
        monkeypatch.setenv("ACCIDENT_RECO_DATABASE_URL", "postgresql+psycopg2://ada:secret@127.0.0.1:9/w")
        pointer = home / "store" / "models" / "movies" / "production.json"
        pointer.parent.mkdir(parents=True)
        pointer.write_text("{")
        outcome = accident_reco("doctor", "--json")
    assert outcome.exit_code == 4
    found = {finding["check"]: finding for finding in outcome.document if finding["state"] != "ok"}
    assert "set ACCIDENT_RECO_AUTH_PORT" in found["ports"]["fix"]
    assert "did you mean ACCIDENT_RECO_AUTH_PORT" in found["settings"]["text"]
    assert "damaged" in found["production"]["text"]
    assert "secret" not in found["warehouse"]["text"]
    assert all(finding["fix"] for finding in found.values())


def test_doctor_reports_wrong_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks that need settings are left out."""
    monkeypatch.setenv("ACCIDENT_RECO_PREDICT_PORT", "eighty")
    outcome = accident_reco("doctor", "--json")
    assert outcome.exit_code == 4
    assert [finding["check"] for finding in outcome.document] == ["python", "settings"]
    assert "ACCIDENT_RECO_PREDICT_PORT = 'eighty'" in outcome.document[1]["text"]


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10), "problem"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "problem")]
)
def test_pythons_that_doctor_accepts(version: tuple[int, int], state: str) -> None:
    """Those of `requires-python`."""
    assert doctor.check_python(version).state == state


@pytest.mark.parametrize(
    ("free", "state"), [(GIB - 1, "problem"), (GIB, "warning"), (5 * GIB - 1, "warning"), (5 * GIB, "ok")]
)
def test_disks_that_doctor_accepts(tmp_path: Path, free: int, state: str) -> None:
    """Below 1 GiB a first start may fail; below 5 GiB official data of many years may."""
    assert doctor.check_disk(tmp_path, free).state == state


def test_doctor_finds_the_programs_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any on the PATH, each has a problem with the package to install."""
    monkeypatch.setenv("PATH", "")
    problems = {finding.text: finding.fix for finding in doctor.check_stack() if finding.state == "problem"}
    assert "apt-get install" in problems["prometheus is not installed"]


def test_a_pipeline_is_no_platform(warehouse: Warehouse, home: Path) -> None:
    """It has no services; it must not be reset, nor a second one started; requests would have nobody to start them."""
    with sole_platform(home, "pipeline"):
        shown = accident_reco("status", "--json")
        assert (shown.exit_code, shown.document["running"]["kind"], shown.document["services"]) == (4, "pipeline", [])
        assert "a pipeline runs in" in accident_reco("reset", "--yes").err
        trained = accident_reco("train", "movies")
    assert trained.exit_code == 1
    assert trained.err.startswith(f"a pipeline runs in {home} already (process {os.getpid()} since ")
    assert "; fix: `accident-reco stop`" in trained.err
