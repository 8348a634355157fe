"""Static files of the console and of the models' pages: read once, compressed once, addressed by their content.

Only files below the packages' `static` folders are served; a path of a request is looked up, never opened.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "json": "application/json",
    "geojson": "application/json",
    "woff2": "font/woff2",
}
"""Ending → type of the files that are served; others in these folders, such as licences, are not."""


@dataclass(frozen=True)
class StaticFile:
    """A file, plain and compressed."""

    content: bytes
    compressed: bytes
    type: str
    version: str


def read_static_files(packages: Mapping[str, str]) -> dict[str, StaticFile]:
    """Path below `/static/` → file.

    Args:
        packages: prefix of the paths, empty for the console's own → package with a folder `static`.
    """
    found: dict[str, StaticFile] = {}
    for prefix, package in packages.items():
        folder = files(package) / "static"
        if folder.is_dir():
            _collect(folder, f"{prefix}/" if prefix else "", found)
    return found


def _collect(folder: Traversable, path: str, found: dict[str, StaticFile]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            _collect(entry, f"{path}{entry.name}/", found)
            continue
        kind = TYPES.get(entry.name.rpartition(".")[2])
        if kind is not None:
            content = entry.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:16]
            found[f"{path}{entry.name}"] = StaticFile(content, gzip.compress(content, 9, mtime=0), kind, version)
