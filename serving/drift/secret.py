"""The bearer secret of `POST /alerts`: from the settings, else generated once into a file of mode 0600."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from accident_reco.settings import Settings

FILE: Final = "alert-secret"


def load_alert_secret(settings: Settings) -> str:
    """The secret that Alertmanager sends (`credentials_file` may be the generated file); created if absent."""
    if settings.alert_secret:
        return settings.alert_secret
    path = settings.keys / FILE
    if not path.exists():
        _create(path)
    return path.read_text(encoding="utf-8").strip()


def is_authorized(secret: str, header: str | None) -> bool:
    """Whether an Authorization header has the secret; compared in constant time."""
    scheme, _, credentials = (header or "").partition(" ")
    # Compared even if the scheme is wrong, so that the duration reveals nothing.
    same = hmac.compare_digest(credentials.strip().encode(), secret.encode())
    return same and scheme.lower() == "bearer" and bool(secret)


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Written completely before it is visible: a service and a launcher may create it at the same time.
    draft = path.with_name(f".{FILE}-{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(secrets.token_urlsafe(32) + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
