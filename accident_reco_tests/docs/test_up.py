"""`make up`: first start, every command of the documentation, second start, stop, every error before the start."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from accident_reco.launch.processes import answers
from accident_reco.storage.process_states import read_states
from accident_reco_tests.docs import pictures
from accident_reco_tests.docs.pages import DOCUMENTS, blocks, in_order
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.running import ROOT, SERVICES, Running, environment, free_ports

pytestmark = pytest.mark.timeout(900)  # the first start trains two models


BLOCKS = [block.code for path in in_order() for block in blocks(path) if block.language == "bash"]
COMMANDS = "\n".join(block.code for path in DOCUMENTS for block in blocks(path) if block.language in ("bash", "sh"))
MAKE = re.compile(r"^make ([a-z-]+)", re.MULTILINE)
ON_DEMAND = {"accidents/tuned_parameters", "accidents/rollout", "movies/rollout"}
"""Assets that only their own job materializes: a parameter search takes minutes, and rollouts are off by default."""
DEFAULT_PORTS = {
    "5000": "MLFLOW",
    "7999": "AUTH",
    "8000": "PREDICT",
    "8001": "DRIFT",
    "8002": "CONSOLE",
    "8080": "DAGSTER",
}


def _home(running: Running) -> Path:
    return Path(running.env["ACCIDENT_RECO_HOME"])


def _pointers(home: Path) -> dict[str, str]:
    names = ("accidents", "movies")
    return {name: (home / f"store/models/{name}/production.json").read_text() for name in names}


def test_first_start_shows_everything_on_one_screen(running: Running) -> None:
    """Progress; then URLs, data source, versions, headline metrics and the password, once."""
    assert re.search(r"▶ ingest_accidents 2023-2024", running.screen)
    assert re.search(r"accidents/victims \[2024\]: [\d,]+ rows", running.screen)
    for model, metric in (("accidents", "roc_auc"), ("movies", "ndcg_at_10")):
        version = json.loads(_pointers(_home(running))[model])["version"]
        assert re.search(rf"{model} +{version} +from sample data +.*{metric} 0\.\d{{3}}", running.screen)
    for service in SERVICES:
        assert running.url(service) in running.screen
    assert len(re.findall(r"^admin password: \S{12,}$", running.screen, re.MULTILINE)) == 1
    assert len(running.screen.splitlines()) < 80
    # No traffic yet: insufficient data for a drift verdict is a warning, not a failure.
    assert "! check no_drift of accidents/drift_report: 0 rows" in running.screen
    assert "✘" not in running.screen


def test_generated_secrets_have_mode_0600(running: Running) -> None:
    """Generated secrets are readable by their owner only."""
    keys = [path for path in (_home(running) / "keys").rglob("*") if path.is_file()]
    assert keys
    assert {oct(path.stat().st_mode & 0o777) for path in keys} == {"0o600"}


def test_home_and_databases_are_private(running: Running) -> None:
    """The home 0700; every database, those of Dagster and MLflow too, 0600 with its write-ahead log."""
    home = _home(running)
    assert oct(home.stat().st_mode & 0o777) == "0o700"
    databases = list(home.rglob("*.db*"))
    assert {path.name for path in databases} >= {"warehouse.db", "mlflow.db", "runs.db"}
    modes = set()
    for path in databases:
        with suppress(FileNotFoundError):  # SQLite removes the log of a database that nobody has open
            modes.add(oct(path.stat().st_mode & 0o777))
    assert modes == {"0o600"}


def test_every_contract_asset_is_materialized(running: Running) -> None:
    """After the first start every asset is materialized but those on demand."""
    from accident_reco.definitions import defs

    query = "{assetsOrError {... on AssetConnection {nodes {key {path} assetMaterializations(limit: 1) {runId}}}}}"
    request = urllib.request.Request(
        running.url("dagster") + "/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        nodes = json.load(answer)["data"]["assetsOrError"]["nodes"]
    materialized = {"/".join(node["key"]["path"]) for node in nodes if node["assetMaterializations"]}
    keys = {key.to_user_string() for key in defs().resolve_asset_graph().materializable_asset_keys}
    assert keys - materialized == ON_DEMAND


def test_make_commands_are_targets() -> None:
    """Every `make …` of a code block is a target whose recipe make can expand."""
    targets = set(MAKE.findall(COMMANDS))
    assert {"up", "test", "stack", "drift-demo"} <= targets
    for target in sorted(targets):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_every_block_runs(running: Running, tmp_path: Path) -> None:
    """All `bash` blocks but `make up` in one shell, README first, with this test's home, ports and environment."""
    home = running.env["ACCIDENT_RECO_HOME"]
    scripts = [code for code in BLOCKS if not code.startswith("make up")]
    assert len(scripts) >= 20
    script = "\n".join(scripts).replace("$PWD/.accident_reco", home).replace(".accident_reco/", f"{home}/")
    script = script.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    for port, service in DEFAULT_PORTS.items():
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{running.env[f'ACCIDENT_RECO_{service}_PORT']}")
    run = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=ROOT,
        env=running.env | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
    assert '"prediction_id"' in run.stdout
    assert "personalised" in run.stdout


@pytest.mark.e2e
def test_pictures_can_be_made_again(running: Running, tmp_path: Path) -> None:
    """`make pictures` photographs such a platform: the committed pictures, of the same size, small together."""
    if shutil.which("chromium") is None:
        pytest.skip("no browser: install Debian's chromium")
    pictures.take_screenshots(running, tmp_path)
    made = sorted(tmp_path.glob("*.png"))
    assert [path.name for path in made] == sorted(path.name for path in pictures.FOLDER.glob("*.png"))
    for path in made:
        with Image.open(path) as ours, Image.open(pictures.FOLDER / path.name) as committed:
            assert ours.size == committed.size
            assert len(ours.convert("RGB").getcolors() or ()) > 20, "it shows something"
    assert sum(path.stat().st_size for path in made) < pictures.MAX_BYTES


def test_a_killed_service_is_started_again_while_the_others_serve(running: Running) -> None:
    """`kill -9` of the predict service: auth answers meanwhile, predict answers again; status and metric show it."""
    home = _home(running)
    wait_for(lambda: read_states(home, "platform"))
    pids = {state.name: state.pid for state in read_states(home, "platform")}
    os.kill(pids["predict"], signal.SIGKILL)
    wait_for(lambda: "was killed by SIGKILL" in running.screen)
    assert answers(running.url("auth") + "/livez")
    wait_for(lambda: answers(running.url("predict") + "/readyz"), 60)
    command = [sys.executable, "-m", "accident_reco.cli", "status", "--json"]
    done = subprocess.run(command, env=running.env, capture_output=True, text=True, check=True)
    restarts = {row["name"]: row["restarts"] for row in json.loads(done.stdout)["processes"]}
    expected = dict.fromkeys(("code-server", "dagster", "daemon", "auth", "drift"), 0) | {"predict": 1}
    assert expected.items() <= restarts.items()
    with urllib.request.urlopen(running.url("drift") + "/metrics", timeout=5) as answer:
        assert 'platform_process_restarts{process="predict"} 1.0' in answer.read().decode()


def test_port_in_use_is_one_message(running: Running, tmp_path: Path) -> None:
    """Port, address and variable in one message; exit code not 0; nothing is started."""
    env = running.env | {
        "ACCIDENT_RECO_HOME": str(tmp_path),
        "ACCIDENT_RECO_DAGSTER_PORT": str(free_ports(1)[0]),
    }
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        screen = _failed_start(env | {"ACCIDENT_RECO_AUTH_PORT": str(port)})
    assert f"port {port} on 127.0.0.1: Address already in use; fix: set ACCIDENT_RECO_AUTH_PORT" in screen
    assert "Traceback" not in screen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ACCIDENT_RECO_PREDICT_PORT": "eighty"}, "ACCIDENT_RECO_PREDICT_PORT = 'eighty'"),
        ({"ACCIDENT_RECO_STORE_URL": "ftp://host/x"}, "object stores are file:// or s3://"),
    ],
)
def test_invalid_configuration_is_one_message(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    """An invalid setting, a store without atomic writes: one message, no traceback."""
    screen = _failed_start(environment(tmp_path / "home", **settings))
    assert message in screen
    assert "Traceback" not in screen


def test_sources_are_arguments_of_make(tmp_path: Path) -> None:
    """`make up ACCIDENTS=… MOVIES=…` reads these directories: each one without published files is named."""
    empty = {model: tmp_path / model for model in ("accidents", "movies")}
    for folder in empty.values():
        folder.mkdir()
    screen = _failed_start(environment(tmp_path / "home"), *(f"{name.upper()}={path}" for name, path in empty.items()))
    for model, message in (("accidents", "no complete year in"), ("movies", "ratings.csv")):
        (line,) = [line for line in screen.splitlines() if line.startswith("✘") and str(empty[model]) in line]
        assert message in line
    assert "Traceback" not in screen


def _failed_start(env: dict[str, str], *arguments: str) -> str:
    run = subprocess.run(
        ["make", "--no-print-directory", "up", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode != 0
    return run.stdout + run.stderr


def test_a_second_start_in_a_running_home_is_one_line(running: Running) -> None:
    """The lock with its owner, not the ports that the first one uses."""
    screen = _failed_start(running.env)
    (line,) = [line for line in screen.splitlines() if "already" in line]
    assert re.fullmatch(rf"a platform runs in {_home(running)} already \(process \d+ since \S+\); fix: .+", line)
    assert "port" not in screen


def test_second_start_is_quick_and_trains_nothing(running: Running) -> None:
    """Stops within 10 s on SIGTERM and on Ctrl-C; starts again with the same versions, no password, no training."""
    before = _pointers(_home(running))
    assert running.stop(signal.SIGTERM) < 10
    again = Running(running.env)
    try:
        again.await_text(r"ready after (\d+) s", 60)
        assert "everything is materialized already" in again.screen
        assert "admin password" not in again.screen
        assert _pointers(_home(running)) == before
    finally:
        seconds = again.stop(signal.SIGINT)
    assert seconds < 10
    assert again.process.returncode == -signal.SIGINT  # as make ends on Ctrl-C
    listening = [service for service in SERVICES if _listens(again.url(service))]
    assert listening == []


def _listens(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
