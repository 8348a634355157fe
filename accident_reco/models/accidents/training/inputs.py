"""What an accident version is made of: the stored victims of its years, the parameters that a search found, and the
settings that shape it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.dataset import STORE, DatasetError, copy_objects, write_recipe
from accident_reco.models.accidents.data.raw_store import VICTIMS, comparable_years, current_years
from accident_reco.models.accidents.settings import AccidentSettings, AccidentTraining
from accident_reco.models.accidents.sources import open_source
from accident_reco.models.accidents.training.assembly import TUNED, tuned_for
from accident_reco.models.accidents.training.training_population import sources_of
from accident_reco.storage.objects import ObjectStore

SETTINGS: Final = (*AccidentTraining.model_fields, "seed", "training_jobs")


def save_inputs(store: ObjectStore, settings: AccidentSettings, candidate: Bundle, folder: Path) -> None:
    """Write the candidate's inputs. Raises DatasetError when what is stored is no longer what it was made of."""
    stored = current_years(store, open_source(settings).data_source)
    years = comparable_years(stored)
    if sources_of(stored, years) != list(candidate.lineage["sources"]):
        raise DatasetError(
            f"accidents {candidate.version} was trained on other files than are stored now; train again, so that the "
            "version and its inputs agree"
        )
    tuned, why = tuned_for(store, candidate.lineage["data_source"], settings.accidents_feature_set)
    if why != candidate.lineage["parameters"]["chosen"]:
        raise DatasetError(
            f"accidents {candidate.version} was trained with parameters {candidate.lineage['parameters']['chosen']}; "
            f"now they are {why}: train again"
        )
    keys = [f"{VICTIMS}/{year}.{kind}" for year in years for kind in ("parquet", "json")]
    copy_objects(store, [*keys, TUNED] if tuned else keys, folder)
    write_recipe(folder, candidate.model, candidate.version, settings, SETTINGS)


def source_setting(folder: Path) -> dict[str, str]:
    """The setting under which the years that were kept in a folder are found again."""
    (data_source,) = {json.loads(path.read_text())["data_source"] for path in (folder / STORE / VICTIMS).glob("*.json")}
    return {"accidents_source": data_source if data_source in ("sample", "official") else str(folder)}
