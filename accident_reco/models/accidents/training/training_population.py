"""The people a model may learn from: stored victims of the configured source, of comparable years, not too many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.data.duplicates import Contents, excluded_duplicates
from accident_reco.models.accidents.data.raw_store import comparable_years, current_years, load_frame
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.sources import open_source
from accident_reco.models.accidents.synthesis.sequential import COLUMNS
from accident_reco.storage.objects import ObjectStore

SAMPLE_SALT: Final = 0x5A3B_1E00
KEYS: Final = ("Num_Acc", "id_usager")


@dataclass(frozen=True)
class Population:
    """Victims frame (keys and model columns), where it comes from, and the duplicates that are not part of it."""

    victims: pd.DataFrame
    data_source: str
    sources: list[dict[str, str]]
    years: list[int]
    excluded: NDArray[np.int64]


def population(store: ObjectStore, settings: AccidentSettings) -> Population:
    """Every road user that training and evaluation may use; the holdout is part of it, and every accident is there
    once: of duplicates under several numbers `duplicates.excluded_duplicates` leaves at most one.

    Raises ValueError when no year of the configured source is stored.
    """
    data_source = open_source(settings).data_source
    stored = current_years(store, data_source)
    if not stored:
        raise ValueError(f"no year of {data_source} accidents is stored; ingest one first")
    years = comparable_years(stored)
    victims = pd.concat([load_frame(store, "victims", year)[[*KEYS, *COLUMNS]] for year in years], ignore_index=True)
    excluded = excluded_duplicates(Contents.of(victims))
    if len(excluded):
        victims = victims[~np.isin(victims["Num_Acc"].to_numpy(), excluded)].reset_index(drop=True)
    people = bounded(victims, settings.accidents_max_people)
    return Population(people, data_source, sources_of(stored, years), years, excluded)


def bounded(victims: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most about `most` people outside of the holdout: whole accidents, the same ones for the same bound."""
    numbers = victims["Num_Acc"].to_numpy()
    held_out = in_holdout(numbers)
    free = int(np.count_nonzero(~held_out))
    if free <= most:
        return victims
    return victims[held_out | in_holdout(numbers, share=most / free, salt=SAMPLE_SALT)].reset_index(drop=True)


def sources_of(stored: dict[int, dict[str, Any]], years: list[int]) -> list[dict[str, str]]:
    """The published files behind these years, for a version's lineage."""
    return [
        {"name": record["name"], "sha256": record["sha256"]}
        for year in years
        for record in stored[year]["files"].values()
    ]
