"""Models declared in `defs.yaml` files, as every process of the platform finds them: services and Dagster alike.

The files are components of Dagster (`accident_reco.ModelLoop`); this module reads them without Dagster.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

COMPONENT: Final = "accident_reco.ModelLoop"
FILE: Final = "defs.yaml"
VARIABLE: Final = "ACCIDENT_RECO_LOOPS"
PACKAGED: Final = Path(__file__).resolve().parents[1] / "loops"
"""Folder of the models that the package declares; what `dg scaffold defs` writes in a checkout is there too."""


class DeclarationError(LookupError):
    """A file that declares a model is wrong; the message names it."""


@dataclass(frozen=True)
class Declaration:
    """A model that a file declares.

    Args:
        name: its name.
        model: the installed model that it is an instance of, or `module:attribute`.
        overrides: settings by field name.
        file: where it is declared.
    """

    name: str
    model: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    file: Path = PACKAGED

    @property
    def is_imported(self) -> bool:
        """Whether `model` is an import path, not the name of an installed model."""
        return ":" in self.model


def declarations() -> Mapping[str, Declaration]:
    """Name → declaration: those of the package, then those of the folders in `ACCIDENT_RECO_LOOPS`.

    Raises:
        DeclarationError: a file is invalid, or two declare the same name.
    """
    further = [part.strip() for part in os.environ.get(VARIABLE, "").split(",") if part.strip()]
    return _read(PACKAGED, *(Path(part).expanduser().resolve() for part in further))


@cache
def _read(*folders: Path) -> Mapping[str, Declaration]:
    found: dict[str, Declaration] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DeclarationError(f"{VARIABLE}: there is no folder {folder}")
        for file in sorted(folder.rglob(FILE)):
            for declared in read_declarations(file):
                if declared.name in found:
                    raise DeclarationError(f"{file}: {found[declared.name].file} declares {declared.name} too")
                found[declared.name] = declared
    return found


def read_declarations(file: Path) -> Iterator[Declaration]:
    """Models that a file declares; its components of other types are ignored.

    Raises:
        DeclarationError: it is not YAML, or an attribute is missing or of another type.
    """
    import yaml

    try:
        documents = [one for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if isinstance(one, dict)]
    except yaml.YAMLError as error:
        raise DeclarationError(f"{file}: {error}") from None
    for document in documents:
        if document.get("type") != COMPONENT:
            continue
        attributes = document.get("attributes") or {}
        model, name = attributes.get("model"), attributes.get("name") or file.parent.name
        overrides = attributes.get("settings") or {}
        if not (isinstance(model, str) and isinstance(name, str) and isinstance(overrides, dict)):
            raise DeclarationError(f"{file}: `model` and `name` must be text, `settings` names with values")
        yield Declaration(name, model, overrides, file)
