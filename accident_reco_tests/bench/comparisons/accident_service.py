"""What comparisons of the predict service share: a home with a champion, its model file, a record as features."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.accidents.features.builder import build_features
from accident_reco.models.accidents.scoring.scorer import MODEL_FILE, AccidentScorer
from accident_reco.models.accidents.serving.columns import to_columns
from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.bench.comparison import Options
from accident_reco_tests.bench.load import Target, apply_load
from accident_reco_tests.bench.predict_process import RECORD, Server, postgres, running
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.toy import promote
from serving.auth.bootstrap import ensure_admin
from serving.predict.prediction_log import LINGER_SECONDS

BODY = {"records": [RECORD]}
CONNECTIONS = 8
"""Connections of the load on a saturated service."""
LOGGED_SECONDS = 2 * LINGER_SECONDS + 0.3
"""Within these, the rows of the last requests are in the log."""
ROUNDS, ROWS = 500, 20_000


def prepare_home(options: Options) -> tuple[Path, Bundle]:
    """A migrated home with keys, and the version that it serves."""
    home = options.folder / "home"
    rounds, rows = max(20, int(ROUNDS * options.scale)), max(1500, int(ROWS * options.scale))
    options.report(f"fitting a model of {rounds} trees on {rows:,} random rows")
    settings = Settings.load(home=home)
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    warehouse.close()
    ensure_admin(settings)
    bundle = real_bundle(rounds=rounds, rows=rows)
    promote(home, bundle)
    return home, bundle


@contextmanager
def warehouses(options: Options) -> Iterator[dict[str, dict[str, str]]]:
    """Settings of the service by warehouse; PostgreSQL ends with the block."""
    folder = options.folder / "postgres"
    folder.mkdir()
    options.folder.chmod(0o755)  # PostgreSQL runs as another user where this process is root
    with postgres(folder) as url:
        yield {"SQLite": {}, "PostgreSQL": {"database_url": url}}


@contextmanager
def predicting(home: Path, **settings: str) -> Iterator[tuple[Server, Target]]:
    """The predict service, and the request for one record."""
    with running(home, **settings) as server:
        yield server, target_of(server, BODY)


def target_of(server: Server, body: object, path: str = "/predict/accidents") -> Target:
    """A request to the service with its token."""
    return Target(server.port, (server.request(body, path),))


def measure_turn(server: Server, target: Target, seconds: float, linger: float = LOGGED_SECONDS) -> tuple[float, float]:
    """Requests a second of a saturated service, and milliseconds of processor time of each.

    Args:
        linger: seconds after the load, in which the service works on what it has queued; they belong to the turn.
    """
    before = server.cpu_seconds
    load = apply_load(target, CONNECTIONS, seconds, warm_up=0)
    time.sleep(linger)
    return load.rate, (server.cpu_seconds - before) * 1000 / (load.rate * seconds)


def write_model(bundle: Bundle, folder: Path) -> tuple[Path, list[float]]:
    """The model file of a version, and the record as the row of features that it takes."""
    path = folder / MODEL_FILE
    path.write_bytes(bundle.files[MODEL_FILE])
    spec = AccidentScorer.from_files(bundle.files).spec
    # JSON has no NaN: 0 stands for unknown, on the way of all model servers.
    return path, np.nan_to_num(
        build_features(to_columns({name: [value] for name, value in RECORD.items()}), spec)[0]
    ).tolist()
