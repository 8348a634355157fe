"""Keeps the champion of one model in memory and swaps it when the pointer moves; independent of HTTP and of the model.

A background task polls the pointer. A new version is verified in full (manifest against the pointer, files against the
manifest, signature, a smoke prediction) before one reference is swapped; until then, and if that fails, the previous
version serves. Verified versions are kept in a local cache, which serves at a start while the store is unreachable,
empty or damaged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from accident_reco.lifecycle.bundle import Manifest, canonical_json
from accident_reco.lifecycle.store import ModelStore, Pointer
from serving.common import logs
from serving.common.background import PeriodicTask
from serving.common.metrics import Metrics

M = TypeVar("M")
Loader = Callable[[Mapping[str, bytes], Manifest], M]
"""Verified files and their manifest → the loaded model, after a smoke prediction. May raise any exception."""

# Interval between attempts to load a rejected version: the cause may be temporary (memory, an incomplete mirror).
RETRY_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Champion(Generic[M]):
    """One version, ready to serve. Immutable: a swap does not affect requests that hold it."""

    name: str
    version: str
    model: M
    manifest: Manifest
    pointer: Pointer
    origin: str
    loaded_at: float = field(default_factory=time.time)

    @property
    def data_source(self) -> str:
        """Source of the training data."""
        return self.manifest.data_source


class SlotMetrics:
    """Metrics of all slots of a process."""

    def __init__(self, metrics: Metrics) -> None:
        self.reloads = metrics.counter(
            "model_reloads", "Attempts to load a champion: loaded, cached, refused or unreachable", ("model", "outcome")
        )
        self.info = metrics.gauge(
            "model_info", "1 for the version that serves", ("model", "version", "data_source"), across="livemax"
        )
        self.healthy = metrics.gauge(
            "model_up_to_date",
            "1 if the version that serves is the champion that the store names",
            ("model",),
            across="livemin",
        )


class ModelSlot(Generic[M]):
    """The slot of one model name. Requests read `current`; the background task calls `refresh`."""

    def __init__(
        self,
        name: str,
        loader: Loader[M],
        store: Callable[[], ModelStore],
        cache: ModelStore,
        metrics: SlotMetrics,
        poll_seconds: float,
    ) -> None:
        self.name = name
        self.current: Champion[M] | None = None
        self.problem: str | None = None
        self.is_polled = False
        self.is_champion_named = False
        self._loader = loader
        self._open_store = store
        self._store: ModelStore | None = None
        self._cache = cache
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._rejected: tuple[str, str, float] | None = None
        self._cache_tried = False
        self._swapping = threading.Lock()
        self._missing_reason = ""
        self._first_poll = threading.Event()
        self._task = PeriodicTask(f"slot-{name}", self._poll)
        self._log = logs.get("model-slot")

    # Polling
    def start(self) -> None:
        """Poll the pointer, at once and then every poll interval."""
        self._task.start()

    def wait_for_first_poll(self, seconds: float) -> None:
        """Block until the first poll has loaded or rejected the champion, for at most `seconds`.

        Where the store has not named a version by then, the cached version serves meanwhile.
        """
        if not self._first_poll.wait(seconds) and not self.is_champion_named:
            self._set_problem(f"the model store did not respond within {seconds:.1f} s")
            self._serve_from_cache()

    def stop(self) -> None:
        """Stop polling; waits at most 3 s for a load in progress."""
        self._task.stop(3)

    def _poll(self) -> float:
        self.refresh()
        return self._poll_seconds

    def refresh(self) -> None:
        """Read the pointer and load the version that it names if it is new. Never raises."""
        try:
            if self._store is None:
                self._store = self._open_store()
            pointer = self._store.pointer(self.name)
        except Exception as error:  # depends on the client of the store
            self._handle_unreachable(error)
        else:
            self.is_champion_named = pointer is not None
            if pointer is not None:
                self._load_named(self._store, pointer)
            else:
                self._handle_missing_pointer(self._store)
        self.is_polled = True
        self._first_poll.set()
        self._metrics.healthy.labels(self.name).set(float(self.current is not None and self.problem is None))

    def _load_named(self, store: ModelStore, pointer: Pointer) -> None:
        named = (pointer.version, pointer.manifest_sha256)
        if self._rejected is not None and self._rejected[:2] == named:
            # Checked first: if the cached copy of this version serves, the damage of the store stays the problem.
            if time.monotonic() < self._rejected[2]:
                return
        elif self.current is not None and named == _identity(self.current.pointer):
            self._set_problem(None)
            return
        try:
            champion = self._load(store, pointer, "store")
        except Exception as error:  # a damaged bundle can fail in any way; the previous version serves
            self._rejected = (*named, time.monotonic() + RETRY_SECONDS)
            self._metrics.reloads.labels(self.name, "refused").inc()
            self._set_problem(f"version {pointer.version} was rejected: {error}"[:500])
            if self.current is None:
                self._serve_from_cache()
            return
        self._rejected = None
        self._swap(champion, "loaded")
        self._set_problem(None)
        self._update_cache(champion, store)

    def _handle_missing_pointer(self, store: ModelStore) -> None:
        """Normal before the first promotion, a problem where a version has served before."""
        if self.current is None:
            self._serve_from_cache()
        missing = f"the champion's pointer models/{self.name}/production.json is missing in {store.objects.url}"
        self._missing_reason = f"{missing}: no version was promoted yet, or this is another store"
        meanwhile = f"restore the store or correct its URL; {self.current.version} serves" if self.current else None
        self._set_problem(meanwhile and f"{missing}: {meanwhile} meanwhile")

    def _load(self, store: ModelStore, pointer: Pointer, origin: str) -> Champion[M]:
        manifest = store.manifest(self.name, pointer.version)
        if manifest.sha256 != pointer.manifest_sha256:
            raise ValueError("its manifest is not the one that was promoted (sha256 differs)")
        if (manifest.model, manifest.version) != (self.name, pointer.version):
            raise ValueError(f"its manifest is that of {manifest.model} {manifest.version}")
        model = self._loader(store.files(manifest), manifest)
        return Champion(self.name, manifest.version, model, manifest, pointer, origin)

    def _swap(self, champion: Champion[M], outcome: str) -> None:
        with self._swapping:
            if champion.origin == "cache" and self.current is not None:  # loaded from the store meanwhile
                return
            old, self.current = self.current, champion
        if old is not None:
            self._metrics.info.labels(self.name, old.version, old.data_source).set(0)
        self._metrics.info.labels(self.name, champion.version, champion.data_source).set(1)
        self._metrics.reloads.labels(self.name, outcome).inc()
        self._log.info(
            "champion swapped in",
            model=self.name,
            version=champion.version,
            origin=champion.origin,
            replaced=old.version if old else None,
            reason=champion.pointer.reason,
        )

    # The cache
    def _handle_unreachable(self, error: Exception) -> None:
        self._metrics.reloads.labels(self.name, "unreachable").inc()
        self._set_problem(f"the model store cannot be read: {type(error).__name__}: {error}"[:500])
        if self.current is None:
            self._serve_from_cache()

    def _serve_from_cache(self) -> None:
        if self._cache_tried:
            return
        self._cache_tried = True
        try:
            pointer = self._cache.pointer(self.name)
            if pointer is not None:
                self._swap(self._load(self._cache, pointer, "cache"), "cached")
        except Exception as error:  # a damaged cache is like none
            self._log.warning("cached champion rejected", model=self.name, error=str(error)[:500])

    def _update_cache(self, champion: Champion[M], store: ModelStore) -> None:
        """Keep a verified version for a start without the store. A failure is only logged."""
        objects, base = self._cache.objects, f"models/{self.name}"
        try:
            if not self._is_cached(champion.manifest):
                for name, data in store.files(champion.manifest).items():
                    objects.write(f"{base}/versions/{champion.version}/{name}", data)
                objects.write(f"{base}/versions/{champion.version}/manifest.json", champion.manifest.raw)
            objects.write(f"{base}/production.json", canonical_json(champion.pointer.document()))
            self._prune_cache(champion)
        except Exception as error:  # disk full, read-only: serving does not depend on it
            self._log.warning("champion not cached", model=self.name, version=champion.version, error=str(error)[:500])

    def _is_cached(self, manifest: Manifest) -> bool:
        try:
            kept = self._cache.manifest(self.name, manifest.version)
            return kept.raw == manifest.raw and bool(self._cache.files(kept))
        except Exception:  # absent or damaged: it is written again
            return False

    def _prune_cache(self, champion: Champion[M]) -> None:
        kept = {champion.version, champion.pointer.previous}
        for version in self._cache.versions(self.name):
            if version not in kept:
                for key in self._cache.objects.list(f"models/{self.name}/versions/{version}/"):
                    self._cache.objects.delete(key)

    # Status
    def _set_problem(self, problem: str | None) -> None:
        if problem != self.problem:
            if problem is not None:
                serving = self.current.version if self.current else None
                self._log.error("champion not loaded", model=self.name, problem=problem, serving=serving)
            self.problem = problem

    @property
    def ready(self) -> bool:
        """Whether the service may be ready: the model serves, or no version was ever promoted."""
        return self.current is not None or (self.is_polled and not (self.is_champion_named or self.problem))

    def status(self) -> dict[str, Any]:
        """The model's part of `/readyz`: state, served version, and the problem or reason in words.

        States: `serving`; `degraded` (it serves with a problem); `waiting` (not polled yet); `none` (nothing serves).
        """
        current = self.current
        if current is not None:
            state = "serving" if self.problem is None else "degraded"
        else:
            state = "none" if self.is_polled else "waiting"
        status: dict[str, Any] = {"state": state}
        if current is not None:
            status |= {
                "version": current.version,
                "origin": current.origin,
                "data_source": current.data_source,
                "promoted_at": current.pointer.promoted_at,
            }
        if self.problem is not None:
            status["problem"] = self.problem
        elif state == "none":
            status["reason"] = self._missing_reason
        return status


def _identity(pointer: Pointer) -> tuple[str, str]:
    return pointer.version, pointer.manifest_sha256
