"""What the cookie of a session yields: the id of its row, the key of its tokens, its CSRF token. Pure.

The cookie is 256 random bits that only the browser keeps. The warehouse has the id, which does not lead back to it, and
the tokens encrypted: who reads the warehouse can use no session, and who reads a browser's cookie sees no token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def new_secret() -> str:
    """The cookie of a new session."""
    return secrets.token_urlsafe(32)


def derive_id(secret: str) -> str:
    """Id of the session's row, 64 hex digits."""
    return _derive(secret, b"id").hex()


def derive_csrf_token(secret: str) -> str:
    """CSRF token of the session."""
    return _derive(secret, b"csrf").hex()


def seal(secret: str, tokens: dict[str, str]) -> str:
    """Encrypt tokens (AES-256-GCM); bound to the session, so that a row cannot be swapped for another one's."""
    nonce = os.urandom(12)
    box = AESGCM(_derive(secret, b"seal")).encrypt(nonce, orjson.dumps(tokens), derive_id(secret).encode())
    return base64.b64encode(nonce + box).decode("ascii")


def unseal(secret: str, sealed: str) -> dict[str, str] | None:
    """Tokens that `seal` encrypted; None where the text is not of this session or was changed."""
    try:
        box = base64.b64decode(sealed, validate=True)
        opened = AESGCM(_derive(secret, b"seal")).decrypt(box[:12], box[12:], derive_id(secret).encode())
    except (InvalidTag, ValueError):
        return None
    return {str(name): str(value) for name, value in orjson.loads(opened).items()}


def _derive(secret: str, purpose: bytes) -> bytes:
    return hmac.new(secret.encode("utf-8", "replace"), b"accident_reco console " + purpose, hashlib.sha256).digest()
