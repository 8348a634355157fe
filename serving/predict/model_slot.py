"""Keeps one model name's champion in memory and swaps it when the pointer moves; knows nothing of HTTP or of models.

A thread looks at the pointer. A new version is verified in full (manifest against the pointer, every file against the
manifest, signature, a smoke prediction) before one reference is swapped; until then, and whenever it fails, the old
version serves. What was verified is kept in a local cache, which serves when the store is away, empty, damaged or
silent at start.
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
from serving.common.metrics import Metrics

M = TypeVar("M")
Loader = Callable[[Mapping[str, bytes], Manifest], M]
"""Verified files and their manifest → a model that has answered a smoke prediction. Raises when it cannot."""

# A version that failed is tried again after this long: the fault may have been ours (memory, a half-copied mirror).
RETRY_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Champion(Generic[M]):
    """One version, ready to answer. Never changes; a request that holds it is not touched by a swap."""

    name: str
    version: str
    model: M
    manifest: Manifest
    pointer: Pointer
    origin: str
    loaded_at: float = field(default_factory=time.time)

    @property
    def data_source(self) -> str:
        """What the version was trained from."""
        return self.manifest.data_source


class SlotMetrics:
    """What Prometheus learns about all slots of a process."""

    def __init__(self, metrics: Metrics) -> None:
        self.reloads = metrics.counter(
            "model_reloads", "Attempts to load a champion: loaded, cached, refused or unreachable", ("model", "outcome")
        )
        self.info = metrics.gauge(
            "model_info", "1 for the version that serves", ("model", "version", "data_source"), across="livemax"
        )
        self.healthy = metrics.gauge(
            "model_up_to_date",
            "1 when the champion that the store names is the one that serves",
            ("model",),
            across="livemin",
        )


class ModelSlot(Generic[M]):
    """The slot of one model name. `current` is read by requests; `refresh` is called by the slot's thread or a test."""

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
        self.looked = False
        self.awaited = False
        self._loader = loader
        self._open_store = store
        self._store: ModelStore | None = None
        self._cache = cache
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._refused: tuple[str, str, float] | None = None
        self._cache_tried = False
        self._swapping = threading.Lock()
        self._missing = ""
        self._stop = threading.Event()
        self._first_look = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = logs.get("model-slot")

    # The thread
    def start(self) -> None:
        """Begin to look at the pointer, at once and then every poll interval."""
        self._thread = threading.Thread(target=self._watch, name=f"slot-{self.name}", daemon=True)
        self._thread.start()

    def await_first_look(self, seconds: float) -> None:
        """Block until the pointer was looked at once and what it names was loaded or refused, for `seconds` at most.

        A store that has not even named a version by then is silent: the cache serves meanwhile.
        """
        if not self._first_look.wait(seconds) and not self.awaited:
            self._set_problem(f"the model store did not answer within {seconds:.1f} s")
            self._serve_from_cache()

    def stop(self) -> None:
        """Stop looking; a load under way ends first (at most a few seconds)."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=3)

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(self._poll_seconds)

    # One look
    def refresh(self) -> None:
        """Look at the pointer once and load what it names if that is new. Never raises."""
        try:
            if self._store is None:
                self._store = self._open_store()
            pointer = self._store.pointer(self.name)
        except Exception as error:  # whatever a store's client raises when it cannot be reached
            self._unreachable(error)
        else:
            self.awaited = pointer is not None
            if pointer is not None:
                self._follow(self._store, pointer)
            else:
                self._pointer_missing(self._store)
        self.looked = True
        self._first_look.set()
        self._metrics.healthy.labels(self.name).set(float(self.current is not None and self.problem is None))

    def _follow(self, store: ModelStore, pointer: Pointer) -> None:
        named = (pointer.version, pointer.manifest_sha256)
        if self._refused is not None and self._refused[:2] == named:
            # Where the cache has the same version, it serves and the store's damage stays the problem.
            if time.monotonic() < self._refused[2]:
                return
        elif self.current is not None and named == _identity(self.current.pointer):
            self._set_problem(None)
            return
        try:
            champion = self._load(store, pointer, "store")
        except Exception as error:  # a bad bundle can fail in any way; the old version serves on
            self._refused = (*named, time.monotonic() + RETRY_SECONDS)
            self._metrics.reloads.labels(self.name, "refused").inc()
            self._set_problem(f"version {pointer.version} was refused: {error}"[:500])
            if self.current is None:
                self._serve_from_cache()
            return
        self._refused = None
        self._swap(champion, "loaded")
        self._set_problem(None)
        self._remember(champion, store)

    def _pointer_missing(self, store: ModelStore) -> None:
        """Expected before the first promotion; a problem where a version has served before."""
        if self.current is None:
            self._serve_from_cache()
        missing = f"the champion's pointer models/{self.name}/production.json is missing in {store.objects.url}"
        self._missing = f"{missing}: no version was promoted yet, or the store is not the one it was"
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
            if champion.origin == "cache" and self.current is not None:  # the store answered meanwhile
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
    def _unreachable(self, error: Exception) -> None:
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
        except Exception as error:  # a damaged cache is as good as none
            self._log.warning("cached champion refused", model=self.name, error=str(error)[:500])

    def _remember(self, champion: Champion[M], store: ModelStore) -> None:
        """Keep a verified version for a start without the store. Failing to is worth a line in the log, no more."""
        objects, base = self._cache.objects, f"models/{self.name}"
        try:
            if not self._is_cached(champion.manifest):
                for name, data in store.files(champion.manifest).items():
                    objects.write(f"{base}/versions/{champion.version}/{name}", data)
                objects.write(f"{base}/versions/{champion.version}/manifest.json", champion.manifest.raw)
            objects.write(f"{base}/production.json", canonical_json(champion.pointer.document()))
            self._forget_old(champion)
        except Exception as error:  # disk full, read-only: serving goes on
            self._log.warning("champion not cached", model=self.name, version=champion.version, error=str(error)[:500])

    def _is_cached(self, manifest: Manifest) -> bool:
        try:
            kept = self._cache.manifest(self.name, manifest.version)
            return kept.raw == manifest.raw and bool(self._cache.files(kept))
        except Exception:  # absent, or not what was published: it is written again
            return False

    def _forget_old(self, champion: Champion[M]) -> None:
        kept = {champion.version, champion.pointer.previous}
        for version in self._cache.versions(self.name):
            if version not in kept:
                for key in self._cache.objects.list(f"models/{self.name}/versions/{version}/"):
                    self._cache.objects.delete(key)

    # What people see
    def _set_problem(self, problem: str | None) -> None:
        if problem != self.problem:
            if problem is not None:
                serving = self.current.version if self.current else None
                self._log.error("champion not loaded", model=self.name, problem=problem, serving=serving)
            self.problem = problem

    @property
    def ready(self) -> bool:
        """Whether this model does not keep the service from being ready: it serves, or nothing was ever promoted."""
        return self.current is not None or (self.looked and not (self.awaited or self.problem))

    def status(self) -> dict[str, Any]:
        """The model's part of `/readyz`: state, what serves, and the problem in words where there is one.

        `serving`; `degraded` (it serves, but not as the store says it should); `waiting` for the first look; `none`.
        """
        current = self.current
        if current is not None:
            state = "serving" if self.problem is None else "degraded"
        else:
            state = "none" if self.looked else "waiting"
        said: dict[str, Any] = {"state": state}
        if current is not None:
            said |= {
                "version": current.version,
                "origin": current.origin,
                "data_source": current.data_source,
                "promoted_at": current.pointer.promoted_at,
            }
        if self.problem is not None:
            said["problem"] = self.problem
        elif state == "none":
            said["reason"] = self._missing
        return said


def _identity(pointer: Pointer) -> tuple[str, str]:
    return pointer.version, pointer.manifest_sha256
