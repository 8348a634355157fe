"""Bundles: everything that a server needs of one version, content-addressed. Storage is in `store`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accident_reco.lifecycle.training_history import History

FORMAT = 1
REFERENCE_FILE, CARD_FILE = "reference.json", "card.md"
"""Files of every bundle besides the model's own: reference profile for drift, model card."""
VERSION_CHARACTERS = 16


def canonical_json(value: Any) -> bytes:
    """A JSON value as bytes, the same for equal values: sorted keys, no spaces. Raises ValueError for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """One trained version with its evidence.

    Args:
        model: model name.
        files: file name → content; no path separators.
        signature: inputs and outputs of the model, JSON.
        metrics: metrics on the frozen holdout by name (`roc_auc` …); JSON.
        lineage: `sources`, `data_source`, `dagster_run_id`, `mlflow_run_id`, `git_commit`; JSON.
        gate: the decision of the gate on it; JSON.
        history: metrics of its training by step, for the tracker; no part of the manifest.
    """

    model: str
    files: Mapping[str, bytes]
    signature: Mapping[str, Any]
    metrics: Mapping[str, Any]
    lineage: Mapping[str, Any]
    gate: Mapping[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Hash over files and signature: the same inputs, code and seed give the same version."""
        content = {name: sha256(data) for name, data in self.files.items()}
        identity = {"model": self.model, "files": content, "signature": self.signature}
        return sha256(canonical_json(identity))[:VERSION_CHARACTERS]

    def manifest(self, created_at: str) -> Manifest:
        """The manifest of this bundle."""
        files = {name: {"sha256": sha256(data), "size": len(data)} for name, data in sorted(self.files.items())}
        document = {
            "format": FORMAT,
            "model": self.model,
            "version": self.version,
            "created_at": created_at,
            "files": files,
            "signature": self.signature,
            "metrics": self.metrics,
            "lineage": self.lineage,
            "gate": self.gate,
        }
        return Manifest.parse(canonical_json(document))


@dataclass(frozen=True)
class Manifest:
    """A parsed `manifest.json`; `raw` is its bytes, of which pointers have the digest."""

    raw: bytes
    model: str
    version: str
    created_at: str
    files: Mapping[str, Mapping[str, Any]]
    signature: Mapping[str, Any]
    metrics: Mapping[str, Any]
    lineage: Mapping[str, Any]
    gate: Mapping[str, Any]

    @classmethod
    def parse(cls, raw: bytes) -> Manifest:
        """The manifest in stored bytes. Raises ValueError for anything else, and for another format."""
        try:
            document = json.loads(raw)
            if document["format"] != FORMAT:
                raise ValueError(f"manifest format {document['format']} is not {FORMAT}")
            parts = {name: document[name] for name in cls.__dataclass_fields__ if name != "raw"}
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a manifest: {error!r}") from None
        return cls(raw=raw, **parts)

    @property
    def sha256(self) -> str:
        """Hex digest of the manifest's bytes, as pointers have it."""
        return sha256(self.raw)

    @property
    def data_source(self) -> str:
        """`sample`, `official`, or the directory that the model was trained from."""
        return str(self.lineage.get("data_source", "unknown"))

    def verify(self, files: Mapping[str, bytes]) -> None:
        """Raises ValueError that names the first file that is missing or differs from the published one."""
        for name, entry in self.files.items():
            if name not in files:
                raise ValueError(f"{self.model} {self.version}: {name} is missing")
            if len(files[name]) != entry["size"] or sha256(files[name]) != entry["sha256"]:
                raise ValueError(f"{self.model} {self.version}: {name} differs from the published file (sha256)")
        identity = {
            "model": self.model,
            "files": {name: entry["sha256"] for name, entry in self.files.items()},
            "signature": self.signature,
        }
        if sha256(canonical_json(identity))[:VERSION_CHARACTERS] != self.version:
            raise ValueError(f"{self.model} {self.version}: files and signature hash to another version")
