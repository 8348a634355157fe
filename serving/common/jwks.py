"""Public keys of the auth service: fetched, cached on disk, refreshed; the known keys stay valid while it is down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import orjson
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from serving.common import logs
from serving.common.background import PeriodicTask

REFRESH_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 2.0
# A token with an unknown key id triggers a refresh at most this often: forged ids cost the auth service nothing.
COOLDOWN_SECONDS: Final = 2.0
_TIMEOUT: Final = 2.0
_MAX_BYTES: Final = 64 * 1024

Fetch = Callable[[], bytes]


def build_http_fetch(url: str) -> Fetch:
    """Returns a function that reads a JWKS document from a URL. Raises ValueError where it is not http or https."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url}: the auth service must be reached by http or https")

    def fetch() -> bytes:
        request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - scheme checked above
        with urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
            return bytes(response.read(_MAX_BYTES))

    return fetch


def parse_jwks(document: bytes) -> dict[str, Any]:
    """Key id → Ed25519 public key; other kinds of keys are left out. Raises ValueError for an invalid document."""
    try:
        entries = orjson.loads(document)["keys"]
        usable = [e for e in entries if e.get("kty") == "OKP" and e.get("crv") == "Ed25519" and "d" not in e]
        return {str(entry["kid"]): PyJWK(entry, algorithm="EdDSA").key for entry in usable}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, PyJWTError) as error:
        raise ValueError(f"not a JWKS document: {type(error).__name__}") from None


class Jwks:
    """The latest keys. Reading `keys` never blocks; `refresh` does.

    Args:
        fetch: returns the JWKS document; may raise OSError, ValueError or RuntimeError.
        cache: file that keeps the document for a start while the auth service is down; None: no file.
    """

    def __init__(self, fetch: Fetch, cache: Path | None) -> None:
        self.keys: Mapping[str, Any] = {}
        self.generation = 0
        self.problem: str | None = "not fetched yet"
        self._fetch = fetch
        self._cache = cache
        self._lock = threading.Lock()
        self._requested_at = -COOLDOWN_SECONDS
        self._task = PeriodicTask("jwks", self._refresh_periodically)
        self._log = logs.get("jwks")

    def start(self) -> None:
        """Read the cache, then refresh the keys in the background."""
        if self._cache is not None and self._cache.exists():
            try:
                self._set_keys(self._cache.read_bytes())
            except (OSError, ValueError) as error:
                self._log.warning("cached keys are invalid", error=str(error))
        self._task.start()

    def stop(self) -> None:
        """Stop refreshing."""
        self._task.stop(_TIMEOUT + 1)

    def claim_refresh(self) -> bool:
        """Whether an unknown key id justifies a refresh now: True for the first caller of a cooldown period only."""
        now = time.monotonic()
        if now - self._requested_at < COOLDOWN_SECONDS:
            return False
        self._requested_at = now
        return True

    def refresh(self) -> None:
        """Fetch the keys; where that fails the known ones stay and `problem` has the reason. Never raises."""
        with self._lock:
            self._requested_at = time.monotonic()
            try:
                document = self._fetch()
                self._set_keys(document)
            except (OSError, ValueError, RuntimeError) as error:
                self._set_problem(f"the auth service's keys cannot be fetched: {error}"[:300])
                return
            self._set_problem(None)
            if self._cache is not None:
                self._write_cache(self._cache, document)

    def _refresh_periodically(self) -> float:
        self.refresh()
        return REFRESH_SECONDS if self.problem is None else RETRY_SECONDS

    def _write_cache(self, cache: Path, document: bytes) -> None:
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            draft = cache.with_suffix(f".{threading.get_ident()}")
            draft.write_bytes(document)
            draft.replace(cache)
        except OSError as error:
            self._log.warning("keys not cached", error=str(error))

    def _set_keys(self, document: bytes) -> None:
        keys = parse_jwks(document)
        if not keys:
            raise ValueError("the JWKS has no Ed25519 key")
        if set(keys) != set(self.keys):
            self.keys = keys
            self.generation += 1

    def _set_problem(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            self._log.warning("keys not refreshed", problem=problem, known=len(self.keys))
        self.problem = problem
