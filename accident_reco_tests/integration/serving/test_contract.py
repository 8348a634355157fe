"""schemathesis with all checks against the OpenAPI document of each service, over real HTTP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from accident_reco.settings import Settings
from accident_reco_tests.support.accounts import running_auth
from accident_reco_tests.support.live import live
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.real_movies import movie_bundle
from accident_reco_tests.support.toy import promote
from serving.drift.app import create_app as create_drift_app
from serving.predict.app import create_app

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 2
FAST = {"rate_per_second": 1e6, "rate_burst": 10**6}


def check_contract(url: str, headers: dict[str, str], folder: Path) -> None:
    """Run schemathesis against a running service; fails with its report."""
    (name, value), *_ = headers.items()
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "--config-file",
        str(CONFIG),
        "run",
        f"{url}/openapi.json",
        "--checks",
        "all",
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        "20",
        "--header",
        f"{name}: {value}",
        "--generation-database",
        "none",
        "--continue-on-failure",
        "--no-color",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Tested: 0" not in done.stdout


@pytest.mark.timeout(300)
def test_predict(tmp_path: Path) -> None:
    """Responses of the predict service match its document."""
    with running_auth(tmp_path, **FAST) as auth:
        promote(tmp_path, real_bundle())
        promote(tmp_path, movie_bundle())
        settings = Settings.load(home=tmp_path, public_auth_url=auth.url, **FAST)  # type: ignore[arg-type]
        with live(create_app(settings)) as client:
            check_contract(str(client.base_url).rstrip("/"), auth.headers(), tmp_path)


@pytest.mark.timeout(300)
def test_auth(tmp_path: Path) -> None:
    """Responses of the auth service match its document."""
    with running_auth(tmp_path, **FAST) as auth:
        # An API key: schemathesis may change the admin's own password on its way.
        body = {"name": "contract", "scopes": ["admin"]}
        key = auth.client.post("/api-keys", json=body, headers=auth.headers()).json()["key"]
        check_contract(auth.url, {"X-API-Key": key}, tmp_path)


@pytest.mark.timeout(300)
def test_drift(tmp_path: Path) -> None:
    """Responses of the drift service match its document."""
    with running_auth(tmp_path, **FAST) as auth:
        settings = Settings.load(home=tmp_path, public_auth_url=auth.url, **FAST)  # type: ignore[arg-type]
        with live(create_drift_app(settings), ready=False) as client:
            check_contract(str(client.base_url).rstrip("/"), auth.headers(), tmp_path)
