"""Prevents two installations from sharing a database or store.

The launcher claims for the whole installation; services that it (or compose, or Kubernetes) starts claim nothing, so
that replicas on any number of machines are one installation.
"""

from __future__ import annotations

import secrets
import socket
import time
from contextlib import suppress

from sqlalchemy import make_url

from accident_reco.launch.processes import LaunchError
from accident_reco.settings import Settings, variable
from accident_reco.storage.clock import iso_now
from accident_reco.storage.objects import StoreError, open_store
from accident_reco.storage.ownership import Installation, claim_database, claim_store, owner_of_database

STORE_SECONDS = 20.0
"""Wait for a store that was started at the same time: it creates its buckets after it first answers."""
DATABASES = ("database_url", "dagster_database_url")


def this_installation(settings: Settings) -> Installation:
    """The installation of these settings; its id is a setting, or generated once and kept in the home."""
    kept = settings.home / "installation-id"
    if not settings.installation_id:
        settings.home.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), kept.open("x", encoding="utf-8") as file:
            file.write(secrets.token_hex(8))
    identity = settings.installation_id or kept.read_text(encoding="utf-8").strip()
    return Installation(identity, str(settings.home), socket.gethostname(), iso_now())


def require_unowned(settings: Settings) -> None:
    """Check the owners by the superuser's login, before roles and databases are created or passwords changed.

    Raises:
        LaunchError: a database belongs to another installation.
    """
    admin = make_url(settings.database_admin_url)
    mine = this_installation(settings)
    for name in DATABASES:
        if url := getattr(settings, name):
            there = admin.set(database=make_url(url).database)
            _require_own(settings, mine, name, owner_of_database(there.render_as_string(hide_password=False)))


def claim(settings: Settings) -> None:
    """Claim every database and store outside the home that has no owner yet.

    In a fixed order, up to the first with another owner: of two homes that start at once on the same parts, one gets
    all of them.

    Raises:
        LaunchError: one belongs to another installation; the message names it and the settings that permit the start.
    """
    mine = this_installation(settings)
    for name in DATABASES:
        if url := getattr(settings, name):
            _require_own(settings, mine, name, claim_database(url, mine))
    if settings.store_url:
        _require_own(settings, mine, "store_url", _claim_store(settings, mine))


def _require_own(settings: Settings, mine: Installation, name: str, owner: Installation | None) -> None:
    if settings.allow_shared or owner is None or owner.id == mine.id:
        return
    raise LaunchError(
        f"{variable(name)}: in use by installation {owner.id} of {owner.home} on {owner.host} since {owner.since}; "
        f"fix: choose another one, or set {variable('installation_id')}={owner.id} where this home continues that "
        f"installation, or {variable('allow_shared')}=true"
    )


def _claim_store(settings: Settings, mine: Installation) -> Installation:
    store = open_store(settings.store)  # an invalid URL is not waited for
    deadline = time.monotonic() + STORE_SECONDS
    while True:
        try:
            return claim_store(store, mine)
        except ValueError as error:
            raise LaunchError(str(error)) from None
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
