"""The model store: immutable versions, and one pointer per model that moves by compare-and-swap.

    models/<model>/versions/<version>/manifest.json, …
    models/<model>/production.json

A version's files are written first, then its manifest, then the pointer: after a crash at any point the old or the new
version is champion.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace

from accident_reco.lifecycle.bundle import VERSION_CHARACTERS, Bundle, Manifest, canonical_json
from accident_reco.storage.clock import iso_now
from accident_reco.storage.objects import ObjectExists, ObjectNotFound, ObjectStore

_VERSION = re.compile(rf"[0-9a-f]{{{VERSION_CHARACTERS}}}")


class NoSuchVersion(LookupError):
    """The store has no such version of the model."""


class NoEarlierVersion(NoSuchVersion):
    """There is no earlier version to roll back to."""


@dataclass(frozen=True)
class Pointer:
    """A parsed `production.json`. `tag` is the object's tag, for compare-and-swap; it is not stored."""

    version: str
    manifest_sha256: str
    promoted_at: str
    run_id: str
    previous: str | None
    reason: str
    tag: str = ""

    @classmethod
    def parse(cls, raw: bytes, tag: str = "") -> Pointer:
        """The pointer in stored bytes. Raises ValueError where they are damaged."""
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
        """Store a bundle. Returns its manifest; an existing version is verified and stays as it is."""
        base = f"models/{bundle.model}/versions/{bundle.version}"
        try:
            kept = self.manifest(bundle.model, bundle.version)
        except NoSuchVersion:
            for name, data in bundle.files.items():
                self.objects.write(f"{base}/{name}", data)
            manifest = bundle.manifest(iso_now())
            try:
                self.objects.create(f"{base}/manifest.json", manifest.raw)
            except ObjectExists:  # another process has just stored the same content
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
        """Every complete version, in no particular order."""
        base = f"models/{model}/versions/"
        return [k.removeprefix(base).split("/")[0] for k in self.objects.list(base) if k.endswith("/manifest.json")]

    def pointer(self, model: str) -> Pointer | None:
        """The pointer; None before the first promotion. Raises ValueError where it is damaged."""
        try:
            raw, tag = self.objects.read_tagged(f"models/{model}/production.json")
        except ObjectNotFound:
            return None
        return Pointer.parse(raw, tag)

    def swap(self, model: str, pointer: Pointer, expected: str | None) -> Pointer:
        """Replace the pointer if it still has the tag `expected` (None: if there is none).

        Raises:
            SwapConflict: it has another tag; nothing changed.
        """
        tag = self.objects.swap(f"models/{model}/production.json", canonical_json(pointer.document()), expected)
        return replace(pointer, tag=tag)

    def point(self, manifest: Manifest, *, expected: Pointer | None, run_id: str, reason: str) -> Pointer:
        """Make a stored version the champion without an audit row; `intents.move` writes one.

        Args:
            expected: the pointer that the decision is based on; nothing changes where it is another one.

        Raises:
            SwapConflict: the pointer is no longer the expected one.
        """
        pointer = next_pointer(manifest, expected=expected, run_id=run_id, reason=reason)
        return self.swap(manifest.model, pointer, expected.tag if expected else None)

    def champion(self, model: str) -> tuple[Pointer, Manifest] | None:
        """The pointer and the manifest that it names; None before the first promotion. Raises ValueError."""
        pointer = self.pointer(model)
        return None if pointer is None else (pointer, self.promoted_manifest(model, pointer))

    def promoted_manifest(self, model: str, pointer: Pointer) -> Manifest:
        """The manifest that a pointer names. Raises ValueError where its digest differs."""
        manifest = self.manifest(model, pointer.version)
        if manifest.sha256 != pointer.manifest_sha256:
            raise ValueError(
                f"{model} {pointer.version}: the manifest is not the one that was promoted (sha256 differs)"
            )
        return manifest


def next_pointer(manifest: Manifest, *, expected: Pointer | None, run_id: str, reason: str) -> Pointer:
    """The pointer that makes a version the champion after `expected`; nothing is written."""
    return Pointer(
        version=manifest.version,
        manifest_sha256=manifest.sha256,
        promoted_at=iso_now(),
        run_id=run_id,
        previous=expected.version if expected else None,
        reason=reason,
    )
