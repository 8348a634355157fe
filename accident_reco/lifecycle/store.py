"""The model store: versions that never change and one pointer per model that moves by compare-and-swap.

    models/<model>/versions/<version>/manifest.json, …
    models/<model>/production.json

A version's files are written first, its manifest last, the pointer after that: killed at any step, the old or the new
champion serves, never neither.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from accident_reco.lifecycle.bundle import VERSION_CHARACTERS, Bundle, Manifest, canonical_json
from accident_reco.storage.objects import ObjectExists, ObjectNotFound, ObjectStore

_VERSION = re.compile(rf"[0-9a-f]{{{VERSION_CHARACTERS}}}")


class NoSuchVersion(LookupError):
    """The store has no such version of the model."""


class NoEarlierVersion(NoSuchVersion):
    """There is no version that a rollback could go to by itself."""


@dataclass(frozen=True)
class Pointer:
    """What `production.json` says. `tag` is the object's tag, for compare-and-swap; it is not stored."""

    version: str
    manifest_sha256: str
    promoted_at: str
    run_id: str
    previous: str | None
    reason: str
    tag: str = ""

    @classmethod
    def parse(cls, raw: bytes, tag: str = "") -> Pointer:
        """Pointer from the stored bytes. Raises ValueError when they are no pointer."""
        try:
            pointer = cls(**json.loads(raw), tag=tag)
            if not all(isinstance(value, str) for value in (pointer.version, pointer.manifest_sha256)):
                raise ValueError("version and manifest_sha256 are texts")
        except (TypeError, ValueError) as error:
            raise ValueError(f"the pointer production.json is damaged: {error}") from None
        return pointer

    def document(self) -> dict[str, str | None]:
        """The stored fields."""
        fields = asdict(self)
        del fields["tag"]
        return fields


class ModelStore:
    """Bundles and pointers in an object store."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects

    def write(self, bundle: Bundle) -> Manifest:
        """Store a bundle and give its manifest; a version that is there already is verified and kept as it is."""
        base = f"models/{bundle.model}/versions/{bundle.version}"
        try:
            kept = self.manifest(bundle.model, bundle.version)
        except NoSuchVersion:
            for name, data in bundle.files.items():
                self.objects.write(f"{base}/{name}", data)
            manifest = bundle.manifest(now())
            try:
                self.objects.create(f"{base}/manifest.json", manifest.raw)
            except ObjectExists:  # another process published the same content a moment ago
                return self.manifest(bundle.model, bundle.version)
            return manifest
        self.files(kept)
        return kept

    def manifest(self, model: str, version: str) -> Manifest:
        """Manifest of a version. Raises NoSuchVersion."""
        if not _VERSION.fullmatch(version):
            raise NoSuchVersion(f"{version!r} is no version of {model}: a version is {VERSION_CHARACTERS} hex digits")
        try:
            return Manifest.parse(self.objects.read(f"models/{model}/versions/{version}/manifest.json"))
        except ObjectNotFound:
            raise NoSuchVersion(f"{model} has no version {version}; `versions` lists them") from None

    def files(self, manifest: Manifest) -> dict[str, bytes]:
        """Files of a version, each verified. Raises ValueError, ObjectNotFound."""
        base = f"models/{manifest.model}/versions/{manifest.version}"
        files = {name: self.objects.read(f"{base}/{name}") for name in manifest.files}
        manifest.verify(files)
        return files

    def versions(self, model: str) -> list[str]:
        """Every complete version, in no order of merit."""
        base = f"models/{model}/versions/"
        return [k.removeprefix(base).split("/")[0] for k in self.objects.list(base) if k.endswith("/manifest.json")]

    def pointer(self, model: str) -> Pointer | None:
        """Which version serves, or None before the first promotion. Raises ValueError for a damaged pointer."""
        try:
            raw, tag = self.objects.read_tagged(f"models/{model}/production.json")
        except ObjectNotFound:
            return None
        return Pointer.parse(raw, tag)

    def swap(self, model: str, pointer: Pointer, expected: str | None) -> Pointer:
        """Write a pointer where the present one still has the tag `expected` (None: where there is none).

        Raises:
            SwapConflict: another promotion came between; nothing changed.
        """
        tag = self.objects.swap(f"models/{model}/production.json", canonical_json(pointer.document()), expected)
        return replace(pointer, tag=tag)

    def point(self, manifest: Manifest, *, seen: Pointer | None, run_id: str, reason: str) -> Pointer:
        """Let a stored version serve, without an audit; `intents.move` is the audited way.

        Args:
            seen: the pointer that the decision was made against; if it moved since, nothing changes.

        Raises:
            SwapConflict: another promotion came between.
        """
        pointer = next_pointer(manifest, seen=seen, run_id=run_id, reason=reason)
        return self.swap(manifest.model, pointer, seen.tag if seen else None)

    def champion(self, model: str) -> tuple[Pointer, Manifest] | None:
        """The pointer with the manifest that it names. Raises ValueError when they disagree."""
        pointer = self.pointer(model)
        return None if pointer is None else (pointer, self.promoted_manifest(model, pointer))

    def promoted_manifest(self, model: str, pointer: Pointer) -> Manifest:
        """The manifest that a pointer names. Raises ValueError when they disagree."""
        manifest = self.manifest(model, pointer.version)
        if manifest.sha256 != pointer.manifest_sha256:
            raise ValueError(
                f"{model} {pointer.version}: the manifest is not the one that was promoted (sha256 differs)"
            )
        return manifest


def next_pointer(manifest: Manifest, *, seen: Pointer | None, run_id: str, reason: str) -> Pointer:
    """The pointer that would let a version serve after `seen`; nothing is written."""
    return Pointer(
        version=manifest.version,
        manifest_sha256=manifest.sha256,
        promoted_at=now(),
        run_id=run_id,
        previous=seen.version if seen else None,
        reason=reason,
    )


def now() -> str:
    """UTC, to the millisecond, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
