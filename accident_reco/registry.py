"""The models of an installation: found by entry points, selected by `ACCIDENT_RECO_MODELS`, validated.

Their contract is in `contract`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from accident_reco.contract import LIVE_METRICS, Model
from accident_reco.settings import Settings, plugins
from accident_reco.settings.plugins import UnknownModelError
from accident_reco.storage.roles import ACCESS

__all__ = [
    "ContractError",
    "UnknownModelError",
    "all_models",
    "database_access",
    "get_model",
    "models",
    "warehouse_tables",
]

if TYPE_CHECKING:
    from sqlalchemy import Table

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


class ContractError(TypeError):
    """An installed model violates the contract; the message names the member and the rule."""


def models(settings: Settings) -> Mapping[str, Model]:
    """The models of this installation, by name, in the order of `ACCIDENT_RECO_MODELS`.

    Raises:
        ContractError: one of them violates the contract.
    """
    return {name: _load(name) for name in settings.model_names}


def get_model(settings: Settings, name: str) -> Model:
    """One model of this installation.

    Raises:
        UnknownModelError: it is not part of the installation; the message lists the models that are.
    """
    if name not in settings.model_names:
        raise UnknownModelError(f"there is no model {name!r}; models are {', '.join(settings.model_names)}")
    return _load(name)


def all_models() -> Mapping[str, Model]:
    """Every installed model, selected or not."""
    return {name: _load(name) for name in plugins.installed_names()}


def database_access(settings: Settings) -> dict[str, dict[str, str]]:
    """Database role → table → rights, of the platform and of the selected models."""
    access = {role: dict(rights) for role, rights in ACCESS.items()}
    for model in models(settings).values():
        for role, rights in model.access.items():
            access[role].update(rights)
    return access


def warehouse_tables(settings: Settings) -> list[Table]:
    """Tables of the selected models."""
    return [table for model in models(settings).values() for table in model.tables()]


@cache
def _load(name: str) -> Model:
    model = plugins.load_model(name)
    problems = list(_problems(name, model))
    if problems:
        raise ContractError(f"the model {name!r}: {'; '.join(problems)}")
    return model


def _problems(name: str, model: object) -> Iterator[str]:
    if not isinstance(model, Model):
        yield f"its entry point names {type(model).__name__}, not an instance of accident_reco.contract.Model"
        return
    if not NAME.fullmatch(name):
        yield "its name must be lower case letters, digits and underscores, at most 32"
    if model.name != name:
        yield f"its entry point is called {name!r}, its `name` is {model.name!r}"
    for member in ("title", "description", "drift_question", "task", "settings"):
        if not hasattr(model, member):
            yield f"it has no `{member}`"
    task = getattr(model, "task", None)
    if task is not None and task.live not in LIVE_METRICS[task.kind]:
        yield f"its task decides live performance by {task.live!r}; measured are {', '.join(LIVE_METRICS[task.kind])}"
    kind = getattr(model, "settings", None)
    if kind is not None and not (isinstance(kind, type) and issubclass(kind, Settings)):
        yield "its `settings` must be a subclass of accident_reco.settings.Settings"
