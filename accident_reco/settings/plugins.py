"""Entry points of installed models, models that `loops` finds, and the names of those in this installation.

Needed below everything else because models declare settings. Callers use `accident_reco.registry`; the contract of a
model is in `accident_reco.contract`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from accident_reco.settings.loops import declarations

GROUP: Final = "accident_reco.models"
VARIABLE: Final = "ACCIDENT_RECO_MODELS"


class UnknownModelError(LookupError):
    """A name that no installed model has, or one that cannot be imported; the message lists the names or the error."""


@cache
def installed_names() -> tuple[str, ...]:
    """Names of the installed and the declared models, sorted."""
    installed = {entry.name for entry in entry_points(group=GROUP)}
    declared = {name for name, one in declarations().items() if one.model in installed or one.is_imported}
    return tuple(sorted(installed | declared))


@cache
def load_model(name: str) -> Any:
    """The object that a model's entry point names, or the instance that a file declares.

    Raises:
        UnknownModelError: no installed package and no file declares it, or what it declares cannot be imported.
    """
    entry = _find_entry(name)
    try:
        model = entry.load()
    except (ImportError, AttributeError) as error:
        raise UnknownModelError(f"the model {name!r} cannot be imported from {entry.value}: {error}") from error
    declared = declarations().get(name)
    if declared is None or getattr(model, "name", None) == name:
        return model
    try:
        return model.instance(name, declared.overrides)
    except ValueError as error:
        raise UnknownModelError(f"{declared.file}: {error}") from None


def find_import_path(name: str) -> str:
    """`module:attribute` of a model, or of the one that it is an instance of. Raises UnknownModelError."""
    return _find_entry(name).value


def base_overrides(names: tuple[str, ...]) -> dict[str, Any]:
    """Settings of the declarations that keep their model's own name: they apply to the whole installation."""
    found: dict[str, Any] = {}
    for name, declared in declarations().items():
        is_instance = name in names and bool(getattr(load_model(name), "overrides", None))
        if name in names and not is_instance:
            found |= declared.overrides
    return found


def _find_entry(name: str) -> EntryPoint:
    declared = declarations().get(name)
    if declared is not None and declared.is_imported:
        return EntryPoint(name, declared.model, GROUP)
    name = name if declared is None else declared.model
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
