"""The console in front of the real services, with a champion of each model and accounts, and people in a browser."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
from fastapi import FastAPI

from accident_reco.lifecycle.store import ModelStore
from accident_reco.models.movies.data.ingest import SourceFile, import_files
from accident_reco.models.movies.data.sample import SampleSpec, generate_ratings_csv
from accident_reco.registry import warehouse_tables
from accident_reco.settings import Settings
from accident_reco.storage.clock import utc_now
from accident_reco.storage.objects import open_store
from accident_reco.storage.prediction_log import insert_predictions
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.accounts import PASSWORD
from accident_reco_tests.support.browser import find_overflow, find_violations
from accident_reco_tests.support.live import live
from accident_reco_tests.support.real_accidents import random_columns, real_bundle
from accident_reco_tests.support.real_movies import NOW, movie_bundle, movies_csv
from accident_reco_tests.support.running import free_ports
from serving.auth.app import create_app as create_auth
from serving.auth.bootstrap import ensure_admin
from serving.console.app import create_app as create_console
from serving.drift.app import create_app as create_drift
from serving.predict.app import create_app as create_predict

MARKUP_CATEGORY = "<i id=y>75</i>"
"""A department that pages must show as text."""
USER = "ada"
"""An account without the scopes of an admin; its password is `PASSWORD`."""


@dataclass
class ConsolePlatform:
    """The running services.

    Args:
        passwords: account → password: `admin`, and `USER`.
        clients: service → client without credentials; `admin` headers are those of `headers`.
    """

    settings: Settings
    passwords: dict[str, str]
    clients: Mapping[str, httpx.Client]
    apps: Mapping[str, FastAPI]
    warehouse: Warehouse

    @property
    def url(self) -> str:
        """Base URL of the console."""
        return str(self.clients["console"].base_url).rstrip("/")

    def reload_settings(self, **changes: Any) -> Settings:
        """The settings of this platform with other values."""
        ports = {
            name: getattr(self.settings, name) for name in type(self.settings).model_fields if name.endswith("_port")
        }
        return Settings.load(home=self.settings.home, **ports | changes)

    def headers(self, name: str = "admin") -> dict[str, str]:
        """Credentials for calls of the services themselves."""
        form = {"username": name, "password": self.passwords[name]}
        return {"Authorization": f"Bearer {self.clients['auth'].post('/token', data=form).json()['access_token']}"}

    @contextmanager
    def log_in(self, name: str = "admin") -> Iterator[httpx.Client]:
        """A client that has logged in to the console, without a browser."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            form = {"username": name, "password": self.passwords[name]}
            assert client.post("/login", data=form).status_code == 303
            yield client

    @contextmanager
    def person(self, browser: Any, name: str = "admin", *, javascript: bool = True, **context: Any) -> Iterator[Any]:
        """A page of a person who has logged in, in a context of its own.

        Ends with an error where the page asked for another host, or its scripts or policies reported one.
        """
        with self.visitor(browser, javascript=javascript, **context) as page:
            page.goto(f"{self.url}/login")
            page.fill("#f-username", name)
            page.fill("#f-password", self.passwords[name])
            page.click("main button")
            page.wait_for_url(f"{self.url}/")
            yield page

    @contextmanager
    def visitor(self, browser: Any, *, javascript: bool = True, **context: Any) -> Iterator[Any]:
        """A page of somebody who has not logged in."""
        opened = browser.new_context(java_script_enabled=javascript, **context)
        page = opened.new_page()
        page.set_default_timeout(10_000)
        foreign: list[str] = []
        reported: list[str] = []
        page.on("request", lambda request: None if request.url.startswith(self.url) else foreign.append(request.url))
        page.on("pageerror", lambda error: reported.append(str(error)))
        page.on("console", lambda message: reported.append(message.text) if _is_report(message) else None)
        yield page
        opened.close()
        assert not [url for url in foreign if not url.startswith(("data:", "blob:", "about:"))]
        assert not reported

    def check_page(self, page: Any) -> None:
        """Fails where the page scrolls sideways at some width, or axe-core finds a violation, in either appearance."""
        overflow = find_overflow(page)
        assert not overflow, overflow
        for appearance, rules in (("light", ()), ("dark", ("color-contrast",))):  # others see no colours
            page.emulate_media(color_scheme=appearance)
            violations = find_violations(page, *rules)
            assert not violations, (appearance, violations)


def log_accidents(platform: ConsolePlatform, *, rows: int = 1_200, moved: bool = False) -> None:
    """Logged predictions like the champion's training data; moved: mostly pedestrians, of a category with markup."""
    columns = random_columns(rows, seed=7)
    if moved:
        columns["catu"][: rows // 2] = 3
        columns["dep"][: rows // 2] = MARKUP_CATEGORY
        columns["vma"] = np.minimum(columns["vma"] + 40, 130)
    at = utc_now()
    listed = {name: values.tolist() for name, values in columns.items() if name != "Num_Acc"}
    insert_predictions(
        platform.warehouse,
        [
            {
                "id": uuid4().hex,
                "request_id": str(row),
                "at": at - timedelta(milliseconds=rows - row),
                "model": "accidents",
                "version": "v",
                "user_name": None,
                "source": "json",
                "status": 200,
                "score": 0.2,
                "answer": {},
                "latency_ms": 1.0,
                "inputs": {name: values[row] for name, values in listed.items()},
            }
            for row in range(rows)
        ],
    )


def _is_report(message: Any) -> bool:
    # Chromium reports each response with an error status; pages of problems have one on purpose.
    return message.type == "error" and "Failed to load resource" not in message.text


def _store_champions(settings: Settings, warehouse: Warehouse) -> None:
    spec = SampleSpec(ratings=6_000, seed=3)
    ratings, movies = b"".join(generate_ratings_csv(spec)), movies_csv(spec)
    files = [SourceFile(n, n, lambda c=c: io.BytesIO(c)) for n, c in (("ratings.csv", ratings), ("movies.csv", movies))]  # type: ignore[misc]
    import_files(warehouse, open_store(settings.store), *files, "sample", NOW)
    models = ModelStore(open_store(settings.store))
    for bundle in (movie_bundle(), real_bundle(is_complete=True)):
        models.point(models.write(bundle), expected=None, run_id="run", reason="first model")


@contextmanager
def running_console(home: Path, *, champions: bool = True, **changes: Any) -> Iterator[ConsolePlatform]:
    """All four services in this process, on free ports, with accounts `admin` and `USER`.

    Args:
        champions: whether each model has a version that serves.
        changes: settings.
    """
    names = ("auth", "predict", "drift", "console")
    ports = {f"{name}_port": port for name, port in zip(names, free_ports(len(names)), strict=True)}
    settings = Settings.load(home=home, **ports | changes)
    warehouse = Warehouse(settings.database)
    warehouse.upgrade(warehouse_tables(settings))
    password = ensure_admin(settings)
    assert password is not None
    if champions:
        _store_champions(settings, warehouse)
    creators = {"auth": create_auth, "predict": create_predict, "drift": create_drift, "console": create_console}
    with ExitStack() as running:
        running.callback(warehouse.close)
        apps: dict[str, FastAPI] = {}
        clients: dict[str, httpx.Client] = {}
        for name, create in creators.items():
            apps[name] = create(settings)
            ready = champions or name != "predict"
            clients[name] = running.enter_context(live(apps[name], ready, port=ports[f"{name}_port"]))
        platform = ConsolePlatform(settings, {"admin": password, USER: PASSWORD}, clients, apps, warehouse)
        account = {"name": USER, "password": PASSWORD}
        assert clients["auth"].post("/users", json=account, headers=platform.headers()).status_code == 201
        yield platform
