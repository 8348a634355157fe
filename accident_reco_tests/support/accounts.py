"""A running auth service with accounts, for tests that require a login."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.live import live
from serving.auth.app import create_app
from serving.auth.bootstrap import ensure_admin


def prepare_home(home: Path, **settings: object) -> tuple[Settings, str]:
    """Migrate a home and create its admin; returns settings and the admin's password."""
    loaded = Settings.load(home=home, **settings)  # type: ignore[arg-type]
    Warehouse(loaded.database).upgrade()
    password = ensure_admin(loaded)
    assert password is not None
    return loaded, password


PASSWORD = "correct horse battery"
"""A password that the rules for passwords accept."""


@dataclass
class Auth:
    """A running auth service with its admin."""

    client: httpx.Client
    settings: Settings
    password: str

    @property
    def url(self) -> str:
        return str(self.client.base_url).rstrip("/")

    def login(self, name: str = "admin", password: str | None = None, scope: str = "") -> dict[str, str]:
        answer = self.client.post(
            "/token", data={"username": name, "password": password or self.password, "scope": scope}
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def headers(self, name: str = "admin", password: str | None = None, scope: str = "") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.login(name, password, scope)['access_token']}"}

    def add_user(self, name: str, password: str, role: str = "user") -> None:
        body = {"name": name, "password": password, "role": role}
        assert self.client.post("/users", json=body, headers=self.headers()).status_code == 201


@contextmanager
def running_auth(home: Path, **settings: object) -> Iterator[Auth]:
    """Run the auth service on a new home."""
    loaded, password = prepare_home(home, **settings)
    with live(create_app(loaded), port=loaded.auth_port if "auth_port" in settings else 0) as client:
        yield Auth(client, loaded, password)
