"""Identity of a training: data, code and settings, which together determine the version. Repetitions are found by it.

A candidate's identity is in its lineage; that of a rejected one also in the audit. An identity that differs costs at
most a training; an equal one must mean an equal version, so whatever may shape a training is part of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

from accident_reco.contract import Model, Platform
from accident_reco.lifecycle.bundle import canonical_json
from accident_reco.settings import Settings
from accident_reco.storage.lifecycle import promotion_history, rolled_back_versions

IDENTITY: Final = "training"
"""Name of the identity in a candidate's lineage, and in the detail of a rejection in the audit."""
SAMPLE: Final = "sample"
"""Entry of a lineage: how much of the stored data trained, and by which setting; None: all of it."""
DATA_VERSION: Final = "data_version"
"""Name of the identity of the training data in the lineage of a fitted candidate."""
SHARED_SETTINGS: Final = ("seed", "training_jobs")
PLATFORM: Final = "accident_reco"


def compute_identity(model: Model, data_version: str, settings: Settings) -> str | None:
    """Identity of a training of a model; None where the identity of its data is not known (empty)."""
    if not data_version:
        return None
    parts = {
        "model": model.name,
        "data": data_version,
        "code": compute_code_version(type(model).__module__.partition(".")[0]),
        "settings": _training_settings(model, settings),
    }
    return sha256(canonical_json(parts)).hexdigest()


def candidate_identity(model: Model, data_versions: Iterable[str], settings: Settings) -> str | None:
    """Identity of a training whose candidates were fitted on these data versions; None where they differ."""
    known = set(data_versions)
    return compute_identity(model, known.pop(), settings) if len(known) == 1 else None


def describe_repetition(model: Model, platform: Platform) -> str | None:
    """Why a training now would only repeat an earlier one, or None.

    It would where data, code and settings are those of the champion, of a candidate that the gate rejected against the
    same champion, or of a version that was rolled back and is blocked from promotion.
    """
    champion = platform.models.champion(model.name)
    if champion is None:
        return None
    identity = compute_identity(model, model.training().data_version(platform), platform.settings)
    if identity is None:
        return None
    manifest = champion[1]
    same = "data, code and settings are those of"
    if manifest.lineage.get(IDENTITY) == identity:
        return f"{same} the champion {manifest.version}: a training would give the same version"
    for version in rolled_back_versions(platform.warehouse, model.name):
        if platform.models.manifest(model.name, version).lineage.get(IDENTITY) == identity:
            return f"{same} {version}, which was rolled back: the gate would reject it"
    for row in promotion_history(platform.warehouse, model.name):
        if row["previous"] == manifest.version and not row["promoted"] and row["detail"].get(IDENTITY) == identity:
            decided = "in a rollout" if row["action"].startswith("rollout_") else "which the gate rejected"
            return f"{same} {row['version']}, {decided}: {row['reason']}"
    return None


@cache
def compute_code_version(package: str) -> str:
    """Hash of the platform's and a package's Python files and of every installed distribution's version.

    Computed once per process, which has loaded the files by then.
    """
    digest = sha256()
    for name in dict.fromkeys((PLATFORM, package)):
        folder = Path(str(importlib.import_module(name).__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{name}/{path.relative_to(folder)}\0".encode())
            digest.update(path.read_bytes())
    installed = sorted({f"{one.name}=={one.version}" for one in distributions()})
    digest.update("\n".join(installed).encode())
    return digest.hexdigest()


def _training_settings(model: Model, settings: Settings) -> dict[str, Any]:
    """The model's own settings and the shared ones of every training, as JSON values."""
    own = settings.of(model.settings).model_dump(mode="json")
    names = set(model.settings.model_fields) - set(Settings.model_fields)
    return {name: own[name] for name in sorted(names | set(SHARED_SETTINGS))}
