"""Entry points of installed models, and the names of those in this installation.

Needed below everything else because models declare settings. Callers use `accident_reco.registry`; the contract of a
model is in `accident_reco.contract`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

GROUP: Final = "accident_reco.models"
VARIABLE: Final = "ACCIDENT_RECO_MODELS"


class UnknownModelError(LookupError):
    """A name that no installed model has, or one that cannot be imported; the message lists the names or the error."""


@cache
def installed_names() -> tuple[str, ...]:
    """Names of the installed models, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


@cache
def load_model(name: str) -> Any:
    """The object that a model's entry point names.

    Raises:
        UnknownModelError: no installed package declares it, or what it declares cannot be imported.
    """
    entry = _find_entry(name)
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise UnknownModelError(f"the model {name!r} cannot be imported from {entry.value}: {error}") from error


def find_import_path(name: str) -> str:
    """`module:attribute` of an installed model, as its entry point states it. Raises UnknownModelError."""
    return _find_entry(name).value


def _find_entry(name: str) -> EntryPoint:
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return entry
    raise UnknownModelError(f"no model {name!r} is installed; installed are {', '.join(installed_names()) or 'none'}")


def chosen_names(stated: str | None = None) -> tuple[str, ...]:
    """Names of this installation's models: those of `ACCIDENT_RECO_MODELS`, by default all that are installed.

    Args:
        stated: names by comma, instead of the environment's.

    Raises:
        UnknownModelError: a name is not installed.
    """
    text = os.environ.get(VARIABLE, "") if stated is None else stated
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip())) or installed_names()
    for name in names:
        if name not in installed_names():
            raise UnknownModelError(
                f"{VARIABLE} = {text!r}: no model {name!r} is installed; installed are {', '.join(installed_names())}"
            )
    return names


def settings_classes(names: tuple[str, ...]) -> Mapping[str, Any]:
    """Model name → the model's settings class, in the order of `names`; None where it declares none."""
    return {name: getattr(load_model(name), "settings", None) for name in names}


def required_names(name: str) -> tuple[str, ...]:
    """Names of the models that a model requires."""
    return tuple(getattr(load_model(name), "requires", ()))
