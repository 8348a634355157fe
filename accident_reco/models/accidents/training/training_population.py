"""The road users that training and evaluation use: stored victims of the configured source and of comparable years."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.lifecycle.bundle import canonical_json, sha256
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.data.duplicates import AccidentContents, find_excluded_accidents
from accident_reco.models.accidents.data.raw_store import load_current_years, load_frame, select_comparable_years
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.sources import open_source
from accident_reco.models.accidents.synthesis.sequential import COLUMNS
from accident_reco.settings import variable
from accident_reco.storage.objects import ObjectStore

SAMPLE_SALT: Final = 0x5A3B_1E00
VICTIMS_VERSION: Final = "victims_version"
"""Attribute of the frame of training rows: `Population.version` of its rows."""
KEYS: Final = ("Num_Acc", "id_usager")


@dataclass(frozen=True)
class Population:
    """Victims frame (keys and model columns), its origin, and the numbers of excluded duplicates, shape (m,).

    `version` is the identity of the stored years. `sample` is how many road users outside of the holdout are there, of
    how many, and by which setting; None: all of them.
    """

    victims: pd.DataFrame
    data_source: str
    sources: list[dict[str, str]]
    years: list[int]
    excluded: NDArray[np.int64]
    version: str
    sample: dict[str, Any] | None = None


def load_population(store: ObjectStore, settings: AccidentSettings) -> Population:
    """Road users of training and holdout; of accidents published several times at most one is left.

    Raises:
        ValueError: no year of the configured source is stored.
    """
    data_source = open_source(settings).data_source
    stored = load_current_years(store, data_source)
    if not stored:
        raise ValueError(f"no year of {data_source} accidents is stored; ingest one first")
    years = select_comparable_years(stored)
    victims = pd.concat([load_frame(store, "victims", year)[[*KEYS, *COLUMNS]] for year in years], ignore_index=True)
    excluded = find_excluded_accidents(AccidentContents.from_victims(victims))
    if len(excluded):
        victims = victims[~np.isin(victims["Num_Acc"].to_numpy(), excluded)].reset_index(drop=True)
    victims, sample = limit_rows(victims, settings.accidents_max_people)
    sources, version = list_sources(stored, years), hash_years(stored)
    return Population(victims, data_source, sources, years, excluded, version, sample)


def hash_years(stored: dict[int, dict[str, Any]]) -> str:
    """Identity of the stored years of a source, from their summaries; empty without any."""
    if not stored:
        return ""
    return sha256(canonical_json({year: summary["victims_sha256"] for year, summary in stored.items()}))


def build_data_version(victims_version: str, parameters: str) -> str:
    """Identity of a training's data: stored years, and the parameters' origin; empty where the years are not known."""
    return sha256(canonical_json([victims_version, parameters])) if victims_version else ""


def limit_rows(victims: pd.DataFrame, max_rows: int) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """The holdout and about `max_rows` other rows at most (0: all): whole accidents, chosen by hash of the number.

    Returns:
        The rows, and `Population.sample`.
    """
    numbers = victims["Num_Acc"].to_numpy()
    held_out = in_holdout(numbers)
    available = int(np.count_nonzero(~held_out))
    if not max_rows or available <= max_rows:
        return victims, None
    chosen = in_holdout(numbers, share=max_rows / available, salt=SAMPLE_SALT) & ~held_out
    sample = {"road_users": int(chosen.sum()), "of": available, "setting": variable("accidents_max_people")}
    return victims[held_out | chosen].reset_index(drop=True), sample


def list_sources(stored: dict[int, dict[str, Any]], years: list[int]) -> list[dict[str, str]]:
    """Name and sha256 of the published files of these years, for a version's lineage."""
    return [
        {"name": record["name"], "sha256": record["sha256"]}
        for year in years
        for record in stored[year]["files"].values()
    ]
