"""Loads the production model into this process, to score a file without a running platform."""

from __future__ import annotations

from typing import Any

from accident_reco.contract import Model
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.store import ModelStore, NoSuchVersion
from accident_reco.registry import UnknownModelError, get_model, models
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store


def select_scoring_model(settings: Settings, name: str | None) -> Model:
    """The model of this name, by default the only one that scores files.

    Raises:
        UnknownModelError: it does not score files, or there are none or several that do.
    """
    able = [name for name, model in models(settings).items() if model.serving().scores_csv]
    if name is None:
        if len(able) != 1:
            raise UnknownModelError(f"models that score files: {', '.join(able) or 'none'}; name one with --model")
        return get_model(settings, able[0])
    model = get_model(settings, name)
    if name not in able:
        raise UnknownModelError(f"{name} does not score files; models that do: {', '.join(able) or 'none'}")
    return model


def load_champion(settings: Settings, model: Model) -> tuple[Any, Manifest]:
    """The production version as the model's own object, with its manifest.

    Raises:
        NoSuchVersion: none was promoted yet.
    """
    store = ModelStore(open_store(settings.store))
    champion = store.champion(model.name)
    if champion is None:
        raise NoSuchVersion(f"no version of {model.name} was promoted yet; fix: accident-reco train {model.name}")
    manifest = champion[1]
    return model.serving().load(store.files(manifest), manifest), manifest
