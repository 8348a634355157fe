"""The services on PostgreSQL as the launcher starts them, each with its own role, for tests of their rights."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
from fastapi import FastAPI
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import text

from accident_reco.drift.alert_secret import load_alert_secret
from accident_reco.launch.home import service_environment
from accident_reco.lifecycle.promotion import promote
from accident_reco.lifecycle.reference import build_reference, reference_bytes
from accident_reco.lifecycle.store import ModelStore
from accident_reco.models.movies.data.ingest import SourceFile, import_files
from accident_reco.models.movies.data.sample import SampleSpec, generate_movies_csv, generate_ratings_csv
from accident_reco.settings import Settings
from accident_reco.storage import accounts, retrain_decisions
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import advance_request
from accident_reco_tests.e2e.conftest import service_settings
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.pointer_machine import BETTER, POLICY
from accident_reco_tests.support.real_accidents import random_columns, real_bundle
from accident_reco_tests.support.real_movies import NOW, movie_bundle
from serving.auth.app import create_app as create_auth
from serving.console.app import create_app as create_console
from serving.drift.app import create_app as create_drift
from serving.predict.app import create_app as create_predict
from serving.predict.log_spill import Spill, encode_row

PASSWORD = "a long enough password"
ROAD_USER = {"catu": 3, "catv": 7, "an": 2024}


def log_row(prediction_id: str, at: datetime, user_name: str = "ada") -> dict[str, Any]:
    """A row of the prediction log."""
    return {
        "id": prediction_id,
        "request_id": "r",
        "at": at,
        "model": "accidents",
        "version": "v",
        "user_name": user_name,
        "source": "spill",
        "status": 200,
        "score": 0.5,
        "answer": {},
        "latency_ms": 1.0,
        "inputs": {"catu": 1},
    }


@dataclass(frozen=True)
class Platform:
    """The running services, the database as its owner, and what requests refer to, by name."""

    settings: Settings
    owner: Warehouse
    apps: dict[str, FastAPI]
    clients: dict[str, httpx.Client]
    known: dict[str, Any]

    def count(self, rows: str) -> int:
        """Rows of a FROM clause."""
        with self.owner.connect() as connection:
            return int(connection.execute(text(f"SELECT count(*) FROM {rows}")).scalar_one())

    def log_in(self, name: str, password: str = PASSWORD) -> dict[str, str]:
        """Tokens of an account."""
        return dict(self.clients["auth"].post("/token", data={"username": name, "password": password}).json())

    def refresh(self, use: str) -> httpx.Response:
        """Uses a known refresh token up."""
        form = {"grant_type": "refresh_token", "refresh_token": self.known["tokens"][use]}
        return self.clients["auth"].post("/token", data=form)

    def label(self, place: int, severity: int) -> httpx.Response:
        """Reports the outcome of one of the two known predictions."""
        body = {"prediction_id": self.known["predictions"][place], "severity": severity}
        return self.clients["predict"].post("/feedback/accidents", json=body)

    def alert(self, fingerprint: str) -> httpx.Response:
        """A firing alert about the movie model, as Alertmanager sends it."""
        firing = {"status": "firing", "labels": {"alertname": "a", "model": "movies"}, "fingerprint": fingerprint}
        headers = {"Authorization": f"Bearer {load_alert_secret(self.settings)}"}
        return self.clients["drift"].post("/alerts", json={"version": "4", "alerts": [firing]}, headers=headers)


def run_auth(launcher: Settings, *command: str) -> str:
    """Output of `python -m serving.auth`, run as in the auth service's container."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ACCIDENT_RECO_")}
    environ = clean | {"ACCIDENT_RECO_HOME": str(launcher.home)} | service_environment(launcher, "auth", {})
    done = subprocess.run(
        [sys.executable, "-m", "serving.auth", *command], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(launcher: Settings, owner: Warehouse) -> None:
    """Ratings in the warehouse, a movie champion, and two accident champions one after the other."""
    models, spec = ModelStore(open_store(launcher.store)), SampleSpec(ratings=6_000, seed=3)
    ratings, movies = b"".join(generate_ratings_csv(spec)), generate_movies_csv(spec)
    import_files(
        owner,
        open_store(launcher.store),
        SourceFile("ratings.csv", "r", lambda: io.BytesIO(ratings)),
        SourceFile("movies.csv", "m", lambda: io.BytesIO(movies)),
        "sample",
        NOW,
    )
    models.point(models.write(movie_bundle()), expected=None, run_id="run", reason="first model")
    real = real_bundle()
    for seed in (1, 2):
        profile = build_reference({"catu": random_columns(1_000, seed)["catu"]}, {"catu": "categorical"})
        bundle = replace(
            real, files={**real.files, "reference.json": reference_bytes(profile)}, metrics={"roc_auc": 0.8}, gate={}
        )
        assert promote(models, owner, bundle, lambda *_: BETTER, POLICY, f"run-{seed}").decision.promote


def make_known(platform: Platform) -> None:
    """Accounts, a key, tokens, two logged predictions, one of them labelled, and an alert that the policy held back."""
    auth, predict, known = platform.clients["auth"], platform.clients["predict"], platform.known
    for name in ("ada", "bob", "eve", "joe"):
        assert auth.post("/users", json={"name": name, "password": PASSWORD}).status_code == 201
    weak = Argon2Hasher(time_cost=1, memory_cost=8_192).hash(PASSWORD)
    accounts.add_user(platform.owner, "old", weak, "user")
    known["key"] = auth.post("/api-keys", json={"name": "known", "scopes": ["predict"]}).json()
    known["tokens"] = {use: platform.log_in("joe")["refresh_token"] for use in ("refresh", "reuse", "revoke")}
    assert platform.refresh("reuse").status_code == 200
    assert platform.log_in("eve", "wrong").keys() >= {"status"}
    machine = {"Authorization": f"Bearer {known['key']['key']}"}
    answer = predict.post("/predict/accidents", json={"records": [ROAD_USER] * 2}, headers=machine)
    known["predictions"] = [user["prediction_id"] for user in answer.json()["predictions"]]
    wait_for(lambda: platform.count("predictions WHERE user_name LIKE 'key:%'") == 2)
    assert platform.label(0, severity=1).status_code == 200
    (held,) = platform.alert("held").json()["requests"]
    retrain_decisions.record_decision(
        platform.owner,
        {
            "model": "movies",
            "source": "alert",
            "trigger_id": held,
            "action": "wait",
            "rule": "r",
            "reason": "budget",
            "detail": {},
            "request_id": None,
        },
    )
    advance_request(platform.owner, held, "done")


@contextmanager
def running_platform(launcher: Settings) -> Iterator[Platform]:
    """All services on a prepared database, with models, accounts, and a row that waited on disk."""
    spilled = log_row("spilled", datetime.now(UTC))
    spill = Spill(launcher.home / "spool" / "predictions", 1 << 20)
    assert spill.write(spilled["at"], [encode_row(spilled)])
    owner, clients = Warehouse(launcher.database), {}
    train(launcher, owner)
    password = run_auth(launcher, "init").split(": ")[1].strip()
    with ExitStack() as running:
        running.callback(owner.close)
        apps = {"auth": create_auth(service_settings(launcher, "auth"))}
        clients["auth"] = running.enter_context(live(apps["auth"]))
        url = str(clients["auth"].base_url)
        apps["predict"] = create_predict(service_settings(launcher, "predict", public_auth_url=url))
        apps["drift"] = create_drift(service_settings(launcher, "drift", public_auth_url=url))
        clients |= {name: running.enter_context(live(apps[name])) for name in ("predict", "drift")}
        addresses = {f"internal_{name}_url": str(clients[name].base_url) for name in ("auth", "predict", "drift")}
        apps["console"] = create_console(service_settings(launcher, "console", **addresses))
        clients["console"] = running.enter_context(live(apps["console"]))
        platform = Platform(launcher, owner, apps, clients, {})
        bearer = f"Bearer {platform.log_in('admin', password)['access_token']}"
        for client in clients.values():
            client.headers["Authorization"] = bearer
            client.timeout = httpx.Timeout(60)
        make_known(platform)
        yield platform
