"""Links to HTML drift reports that work in a browser without a token: signed, for one report, until a fixed time.

Pure: callers pass the secret and the time. Whoever has the secret can sign: the drift service, and Dagster's runs for
the metadata of a report. A link grants nothing but the page of the report that it names.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urlencode

MAX_LIFETIME: Final = timedelta(days=7)
"""No link is valid for longer, whoever signed it."""
SIGNATURE: Final = "signature"
EXPIRES: Final = "expires"
_PURPOSE: Final = b"accident_reco drift report link 1"
_DIGITS: Final = 12


def build_link(base_url: str, secret: str, model: str, report_id: str, expires_at: datetime) -> str:
    """The URL of a report with its signature.

    Args:
        base_url: of the drift service, as browsers reach it.
        expires_at: with time zone.
    """
    expires = str(int(expires_at.timestamp()))
    query = {"id": report_id, EXPIRES: expires, SIGNATURE: sign(secret, model, report_id, expires)}
    return f"{base_url.rstrip('/')}/monitoring/drift/{quote(model)}/report?{urlencode(query)}"


def sign(secret: str, model: str, report_id: str, expires: str) -> str:
    """Signature (HMAC-SHA256, 64 hex digits) of a report and the time at which the link expires, in Unix seconds."""
    key = hmac.digest(secret.encode(), _PURPOSE, "sha256")
    # The parts contain no line break: models are identifiers, the others are matched below.
    message = "\n".join((model, report_id, expires)).encode("utf-8", "replace")
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def find_link_problem(secret: str, model: str, query: Mapping[str, str], now: datetime) -> str | None:
    """Why the parameters of a link are not valid for the report that they name; None if they are."""
    report_id, expires, signature = (query.get(name, "") for name in ("id", EXPIRES, SIGNATURE))
    expected = sign(secret, model, report_id, expires)
    if not hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode()):
        return "the signature is not valid"
    if not (expires.isascii() and expires.isdecimal() and len(expires) <= _DIGITS):
        return "the time of expiry is not valid"
    left = int(expires) - now.timestamp()
    if left <= 0:
        return "the link has expired"
    if left > MAX_LIFETIME.total_seconds():
        return "the link is valid for too long"
    return None
