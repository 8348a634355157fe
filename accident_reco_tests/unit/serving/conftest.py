"""Real keys, settings and tokens for tests of what decides about a request, without a server."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from serving.auth.keys import KeyRing
from serving.common.jwks import Jwks

Forge = Callable[..., str]


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    """Signing keys with one key."""
    made = KeyRing(tmp_path_factory.mktemp("keys"))
    made.ensure()
    return made


@pytest.fixture
def jwks(ring: KeyRing) -> Jwks:
    """The public keys of `ring`, fetched."""
    made = Jwks(ring.jwks, cache=None)
    made.refresh()
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home of its own; issuer and audience that differ."""
    return Settings.load(home=tmp_path, auth_issuer="issuer", auth_audience="audience", rate_per_second=2, rate_burst=3)


@pytest.fixture
def warehouse(settings: Settings, migrated_home: Path) -> Iterator[Warehouse]:
    """The migrated warehouse of `settings`."""
    shutil.copytree(migrated_home, settings.home, dirs_exist_ok=True)
    made = Warehouse(settings.database)
    yield made
    made.close()


@pytest.fixture
def forge(ring: KeyRing) -> Forge:
    """Makes tokens that are good but for what is given: `header` and claims, None to leave a claim out."""

    def make(header: dict[str, Any] | None = None, **claims: Any) -> str:
        now, key = int(time.time()), ring.signing()
        good = {
            "iss": "issuer",
            "aud": "audience",
            "sub": "ada",
            "scope": "predict monitor",
            "jti": "1",
            "iat": now,
            "exp": now + 60,
        }
        kept = {name: value for name, value in (good | claims).items() if value is not None}
        headers = {"kid": key.kid, "typ": "at+jwt"} | (header or {})
        return jwt.encode(kept, key.private, algorithm="EdDSA", headers=headers)

    return make
