"""What must exist before the auth service can work: a signing key and somebody who administers."""

from __future__ import annotations

import secrets
from typing import Final

from accident_reco.settings import Settings
from accident_reco.storage import accounts
from accident_reco.storage.warehouse import Warehouse
from serving.auth.keys import KeyRing, secret_file
from serving.auth.passwords import Passwords

ADMIN: Final = "admin"
PASSWORD_FILE: Final = "admin-password"  # noqa: S105 - a file name


def ensure_admin(settings: Settings) -> str | None:
    """Make the first signing key and the first admin where there are none; the warehouse must be migrated.

    Returns:
        The admin's new random password, to be shown once; None when an admin exists or the settings state the password.
    """
    KeyRing(settings.keys).ensure()
    warehouse = Warehouse(settings.database)
    try:
        if accounts.has_admin(warehouse):
            return None
        password = settings.admin_password or secrets.token_urlsafe(18)
        try:
            accounts.add_user(warehouse, ADMIN, Passwords().hash_now(password), "admin")
        except accounts.AccountExists:
            # Another process was faster, or the account exists without its role: no password of ours is right then.
            return None
        accounts.audit(warehouse, "system", "user.create", target=ADMIN, detail={"role": "admin"})
    finally:
        warehouse.close()
    if settings.admin_password:
        return None
    kept = settings.keys / PASSWORD_FILE
    kept.unlink(missing_ok=True)
    secret_file(kept, password.encode() + b"\n")
    return password
