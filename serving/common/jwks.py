"""Public keys of the auth service: fetched, remembered on disk, refreshed; they work on while that service is down."""

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

REFRESH_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 2.0
# A token with an unknown key id asks for a refresh, at most this often: made-up ids cost the auth service nothing.
COOLDOWN_SECONDS: Final = 2.0
_TIMEOUT: Final = 2.0
_MAX_BYTES: Final = 64 * 1024

Fetch = Callable[[], bytes]


def http_fetch(url: str) -> Fetch:
    """Reads a JWKS document from an http(s) URL that the settings name."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url}: the auth service is reached by http or https")

    def fetch() -> bytes:
        request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - scheme checked above
        with urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
            return bytes(response.read(_MAX_BYTES))

    return fetch


def parse_jwks(document: bytes) -> dict[str, Any]:
    """Key id → Ed25519 public key. Keys of other kinds are left out. Raises ValueError for what is no JWKS."""
    try:
        entries = orjson.loads(document)["keys"]
        usable = [e for e in entries if e.get("kty") == "OKP" and e.get("crv") == "Ed25519" and "d" not in e]
        return {str(entry["kid"]): PyJWK(entry, algorithm="EdDSA").key for entry in usable}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, PyJWTError) as error:
        raise ValueError(f"not a JWKS document: {type(error).__name__}") from None


class Jwks:
    """The keys as last seen. `get` is for request handlers and never blocks; `refresh` does."""

    def __init__(self, fetch: Fetch, cache: Path | None) -> None:
        self.keys: Mapping[str, Any] = {}
        self.generation = 0
        self.problem: str | None = "not fetched yet"
        self._fetch = fetch
        self._cache = cache
        self._lock = threading.Lock()
        self._asked = -COOLDOWN_SECONDS
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = logs.get("jwks")

    def start(self) -> None:
        """Read the cache, then keep the keys fresh in a thread."""
        if self._cache is not None and self._cache.exists():
            try:
                self._take(self._cache.read_bytes())
            except (OSError, ValueError) as error:
                self._log.warning("cached keys refused", error=str(error))
        self._thread = threading.Thread(target=self._keep_fresh, name="jwks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=_TIMEOUT + 1)

    def _keep_fresh(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(REFRESH_SECONDS if self.problem is None else RETRY_SECONDS)

    def claim_refresh(self) -> bool:
        """Whether an unknown key id is worth a refresh now; only the first of those who ask at once is told so."""
        now = time.monotonic()
        if now - self._asked < COOLDOWN_SECONDS:
            return False
        self._asked = now
        return True

    def refresh(self) -> None:
        """Fetch the keys; when that fails the known ones stay. Never raises."""
        with self._lock:
            self._asked = time.monotonic()
            try:
                document = self._fetch()
                self._take(document)
            except (OSError, ValueError, RuntimeError) as error:
                self._say(f"the auth service's keys cannot be fetched: {error}"[:300])
                return
            self._say(None)
            if self._cache is not None:
                try:
                    self._cache.parent.mkdir(parents=True, exist_ok=True)
                    aside = self._cache.with_suffix(f".{threading.get_ident()}")
                    aside.write_bytes(document)
                    aside.replace(self._cache)
                except OSError as error:
                    self._log.warning("keys not cached", error=str(error))

    def _take(self, document: bytes) -> None:
        keys = parse_jwks(document)
        if not keys:
            raise ValueError("the JWKS has no Ed25519 key")
        if set(keys) != set(self.keys):
            self.keys = keys
            self.generation += 1

    def _say(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            self._log.warning("keys not refreshed", problem=problem, known=len(self.keys))
        self.problem = problem
