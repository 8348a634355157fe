"""Creates what the auth service requires: a signing key and the first admin."""

from __future__ import annotations

import secrets
from typing import Final

from accident_reco.settings import Settings, SettingsError, variable
from accident_reco.storage import accounts
from accident_reco.storage.warehouse import Warehouse
from serving.auth.keys import KeyRing, write_secret
from serving.auth.passwords import Passwords, find_weakness

ADMIN: Final = "admin"
PASSWORD_FILE: Final = "admin-password"  # noqa: S105 - a file name


def ensure_admin(settings: Settings) -> str | None:
    """Create the first signing key and the first admin where there are none; the warehouse must be migrated.

    Returns:
        The admin's generated password, to be shown once; None if an admin exists or the password is a setting.

    Raises:
        SettingsError: the password in the settings is too easy to guess.
    """
    KeyRing(settings.keys).ensure()
    warehouse = Warehouse(settings.database)
    try:
        if accounts.has_admin(warehouse):
            return None
        password = settings.admin_password or secrets.token_urlsafe(18)
        if settings.admin_password and (weakness := find_weakness(password, ADMIN)):
            raise SettingsError(
                f"wrong settings:\n  - {variable('admin_password')}: the password is too easy to guess: {weakness}"
            )
        try:
            accounts.add_user(warehouse, ADMIN, Passwords().hash_blocking(password), "admin")
        except accounts.AccountExists:
            # Another process was faster, or the account exists with another role: the password here is not its own.
            return None
        accounts.audit(warehouse, "system", "user.create", target=ADMIN, detail={"role": "admin"})
    finally:
        warehouse.close()
    if settings.admin_password:
        return None
    file = settings.keys / PASSWORD_FILE
    file.unlink(missing_ok=True)
    write_secret(file, password.encode() + b"\n")
    return password
