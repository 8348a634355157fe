"""The secret of the drift service: from the settings, else generated once into a file of mode 0600.

Alertmanager sends it as bearer token to `POST /alerts`, and links to reports are signed with a key derived from it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from accident_reco.settings import Settings

FILE: Final = "alert-secret"


def load_alert_secret(settings: Settings) -> str:
    """The secret that Alertmanager sends (`credentials_file` may be the generated file); created if absent."""
    found = find_alert_secret(settings)
    if found is None:
        _create(settings.keys / FILE)
    return found or (settings.keys / FILE).read_text(encoding="utf-8").strip()


def find_alert_secret(settings: Settings) -> str | None:
    """The secret, for a process other than the drift service; None where it is not a setting and not yet generated."""
    if settings.alert_secret:
        return settings.alert_secret
    try:
        return (settings.keys / FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


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
