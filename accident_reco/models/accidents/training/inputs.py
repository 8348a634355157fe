"""Inputs of an accident version: the stored victims of its years, tuned parameters, and settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.dataset import STORE, DatasetError, copy_objects, write_recipe
from accident_reco.models.accidents.data.raw_store import VICTIMS, load_current_years, select_comparable_years
from accident_reco.models.accidents.settings import AccidentSettings, AccidentTraining
from accident_reco.models.accidents.sources import open_source
from accident_reco.models.accidents.training.parameters import get_tuned_key, read_tuned_parameters
from accident_reco.models.accidents.training.training_population import list_sources
from accident_reco.storage.objects import ObjectStore

SETTINGS: Final = (*AccidentTraining.model_fields, "seed", "training_jobs")


def save_inputs(store: ObjectStore, settings: AccidentSettings, candidate: Bundle, folder: Path) -> None:
    """Write the candidate's inputs into a folder.

    Raises:
        DatasetError: the stored data or parameters are no longer those of the candidate.
    """
    stored = load_current_years(store, open_source(settings).data_source)
    years = select_comparable_years(stored)
    if list_sources(stored, years) != list(candidate.lineage["sources"]):
        raise DatasetError(
            f"{candidate.model} {candidate.version} was trained on other files than those stored now; fix: train again"
        )
    tuned, why = read_tuned_parameters(
        store, candidate.model, candidate.lineage["data_source"], settings.accidents_feature_set
    )
    if why != candidate.lineage["parameters"]["chosen"]:
        raise DatasetError(
            f"{candidate.model} {candidate.version} was trained with parameters "
            f"{candidate.lineage['parameters']['chosen']}; now they are {why}; fix: train again"
        )
    keys = [f"{VICTIMS}/{year}.{kind}" for year in years for kind in ("parquet", "json")]
    copy_objects(store, [*keys, get_tuned_key(candidate.model)] if tuned else keys, folder)
    write_recipe(folder, candidate.model, candidate.version, settings, SETTINGS)


def get_source_setting(folder: Path) -> dict[str, str]:
    """The setting under which the years saved in a folder are found again."""
    (data_source,) = {json.loads(path.read_text())["data_source"] for path in (folder / STORE / VICTIMS).glob("*.json")}
    return {"accidents_source": data_source if data_source in ("sample", "official") else str(folder)}
