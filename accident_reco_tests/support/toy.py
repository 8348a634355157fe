"""A minimal model for tests: weights from the bundle's files, predictions from the columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from accident_reco.lifecycle.bundle import Bundle, Manifest
from accident_reco.lifecycle.store import ModelStore, Pointer
from accident_reco.storage.objects import open_store


class ToyScorer:
    """Probability from the kind of road user (`catu`) alone."""

    columns = ("catu",)

    def __init__(self, weight: float, threshold: float) -> None:
        self.weight = weight
        self.threshold = threshold

    def answer(self, columns: Mapping[str, np.ndarray]) -> Any:
        p = self.probability(columns)
        return SimpleNamespace(probability=p, severe=p >= self.threshold, uncertain=abs(p - self.threshold) < 0.15)

    def probability(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        n = len(next(iter(columns.values())))
        catu = columns.get("catu", np.full(n, -1))
        return np.clip(self.weight * np.maximum(catu, 0) / 3, 0, 1)


def load_toy(files: Mapping[str, bytes], manifest: Manifest) -> ToyScorer:
    """Load the model. Raises ValueError where its smoke prediction is not a probability."""
    raw = json.loads(files["weights.json"])
    scorer = ToyScorer(raw["weight"], raw["threshold"])
    if not 0 <= scorer.probability({"catu": np.array([3])})[0] <= 1 or raw["weight"] < 0:
        raise ValueError("the smoke prediction is not a probability")
    return scorer


def toy_bundle(weight: float = 0.9, model: str = "accidents", **files: bytes) -> Bundle:
    """A bundle of `ToyScorer`."""
    return Bundle(
        model=model,
        files={"weights.json": json.dumps({"weight": weight, "threshold": 0.5}).encode(), **files},
        signature={"inputs": ["catu"], "output": "probability"},
        metrics={"roc_auc": 0.8},
        lineage={"data_source": "sample", "sources": [], "dagster_run_id": "run"},
        gate={"promote": True, "reason": "first model"},
    )


def promote(home: Path, bundle: Bundle, reason: str = "first model") -> Pointer:
    """Write a bundle and point to it, as a training run does."""
    store = open_model_store(home)
    manifest = store.write(bundle)
    return store.point(manifest, expected=store.pointer(bundle.model), run_id="run", reason=reason)


def open_model_store(home: Path) -> ModelStore:
    """The model store of the embedded default."""
    return ModelStore(open_store((home / "store").as_uri()))


LOADERS: Mapping[str, Any] = {"accidents": load_toy}
