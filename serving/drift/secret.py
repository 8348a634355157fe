"""The check of the bearer secret of `POST /alerts`; the secret itself is in `accident_reco.drift.alert_secret`."""

from __future__ import annotations

import hmac


def is_authorized(secret: str, header: str | None) -> bool:
    """Whether an Authorization header has the secret; compared in constant time."""
    scheme, _, credentials = (header or "").partition(" ")
    # Compared even if the scheme is wrong, so that the duration reveals nothing.
    same = hmac.compare_digest(credentials.strip().encode(), secret.encode())
    return same and scheme.lower() == "bearer" and bool(secret)
