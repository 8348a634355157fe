"""What protects the pages: response headers, the rule for changes from other sites, safe redirects. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

CSRF_FIELD: Final = "csrf"
"""Field of every form that changes something."""
CSRF_HEADER: Final = "x-csrf-token"
"""The same for requests of scripts."""
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})

HEADERS: Final[Mapping[str, str]] = {
    # No inline script or style, no other host, no frame, no form to elsewhere.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-frame-options": "DENY",
    # Not `no-referrer`, with which a form's own Origin would be null; other sites learn nothing either way.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""Headers of every page; a response that sets one itself keeps its own."""


def find_foreign_origin(headers: Mapping[str, str]) -> str | None:
    """Why a changing request does not come from a page of this console; None where nothing shows that.

    A browser sends `Sec-Fetch-Site` (not to a host without HTTPS) or `Origin`; one with neither is from a program,
    which no other site controls.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        is_own = site in ("same-origin", "none")
        return None if is_own else f"the request comes from another site ({site[:20]})"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return "the request comes from another origin"
    return None


def is_csrf_token(given: str, expected: str) -> bool:
    """Whether a form or a script sent the token of its session; in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def is_lost_to_strict(headers: Mapping[str, str]) -> bool:
    """Whether a person followed a link of another site: the browser then withholds a cookie that is SameSite=Strict."""
    return headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") == "navigate"


def clean_target(target: str) -> str:
    """A path of this console to redirect to: `target` if it is one, else the start page."""
    is_path = target.startswith("/") and not target.startswith(("//", "/\\"))
    if not is_path or any(ord(character) < 33 or character == "\\" for character in target) or len(target) > 4_000:
        return "/"
    return target
