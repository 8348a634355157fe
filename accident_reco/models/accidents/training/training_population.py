"""The road users that training and evaluation use: stored victims of the configured source and of comparable years."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.lifecycle.bundle import canonical_json, sha256
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.data.duplicates import find_excluded_accidents
from accident_reco.models.accidents.data.raw_store import (
    load_contents,
    load_current_years,
    load_frame,
    select_comparable_years,
)
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.sources import open_source
from accident_reco.models.accidents.synthesis.sequential import COLUMNS
from accident_reco.settings import variable
from accident_reco.storage.objects import ObjectStore

SAMPLE_SALT: Final = 0x5A3B_1E00
VICTIMS_VERSION: Final = "victims_version"
"""Attribute of the frame of training rows: `StoredYears.version` of its rows."""
NUM_ACC: Final = "Num_Acc"
Rows: TypeAlias = Literal["training", "holdout", "all"]


@dataclass(frozen=True)
class StoredYears:
    """The years that training and evaluation use: where they come from, their published files, and their identity."""

    data_source: str
    sources: list[dict[str, str]]
    years: list[int]
    version: str


@dataclass(frozen=True)
class Population(StoredYears):
    """Victims frame (accident number and model columns), and the numbers of excluded duplicates, shape (m,).

    `sample` is how many road users outside of the holdout are used, of how many, and by which setting; None: all.
    """

    victims: pd.DataFrame
    excluded: NDArray[np.int64]
    sample: dict[str, Any] | None = None


def find_years(store: ObjectStore, settings: AccidentSettings) -> StoredYears:
    """The years of a training with these settings; reads no road user.

    Raises:
        ValueError: no year of the configured source is stored.
    """
    data_source = open_source(settings).data_source
    stored = load_current_years(store, data_source)
    if not stored:
        raise ValueError(f"no year of {data_source} accidents is stored; ingest one first")
    years = select_comparable_years(stored)
    return StoredYears(data_source, list_sources(stored, years), years, hash_years(stored))


def load_population(store: ObjectStore, settings: AccidentSettings, rows: Rows = "all") -> Population:
    """Road users of training, of the holdout, or of both; of accidents published several times at most one is left.

    A year at a time is in memory beside the rows that are returned.

    Raises:
        ValueError: no year of the configured source is stored.
    """
    found = find_years(store, settings)
    excluded = find_excluded(store, found.years)
    numbers = [load_frame(store, "victims", year, [NUM_ACC])[NUM_ACC].to_numpy() for year in found.years]
    used = ~np.isin(np.concatenate(numbers), excluded)
    chosen, sample = choose_rows(np.concatenate(numbers)[used], settings.accidents_max_people, rows)
    used[used] = chosen
    victims = load_rows(store, found.years, np.split(used, np.cumsum([len(part) for part in numbers])[:-1]))
    return Population(**vars(found), victims=victims, excluded=excluded, sample=sample)


def find_excluded(store: ObjectStore, years: list[int]) -> NDArray[np.int64]:
    """Numbers of accidents of these years that are not used, since others have the same content; shape (m,)."""
    return find_excluded_accidents(load_contents(store, years))


def load_rows(store: ObjectStore, years: list[int], used: list[NDArray[np.bool_]]) -> pd.DataFrame:
    """Accident number and model columns of the victims of each year that its mask selects, as one frame.

    Columns are joined one by one, so that the years are never in memory twice.
    """
    names = [NUM_ACC, *COLUMNS]
    parts = []
    for year, mask in zip(years, used, strict=True):
        victims = load_frame(store, "victims", year, names)
        parts.append({name: victims[name].to_numpy()[mask] for name in names})
    return pd.DataFrame({name: np.concatenate([part.pop(name) for part in parts]) for name in names}, copy=False)


def hash_years(stored: dict[int, dict[str, Any]]) -> str:
    """Identity of the stored years of a source, from their summaries; empty without any."""
    if not stored:
        return ""
    return sha256(canonical_json({year: summary["victims_sha256"] for year, summary in stored.items()}))


def build_data_version(victims_version: str, parameters: str) -> str:
    """Identity of a training's data: stored years, and the parameters' origin; empty where the years are not known."""
    return sha256(canonical_json([victims_version, parameters])) if victims_version else ""


def choose_rows(
    numbers: NDArray[np.int64], max_rows: int, rows: Rows = "all"
) -> tuple[NDArray[np.bool_], dict[str, Any] | None]:
    """Which road users are used, by their accident numbers of shape (n,), and `Population.sample`.

    Of those outside of the holdout about `max_rows` at most (0: all): whole accidents, chosen by hash of the number.
    """
    held_out = in_holdout(numbers)
    available = int(np.count_nonzero(~held_out))
    training, sample = ~held_out, None
    if max_rows and available > max_rows:
        training &= in_holdout(numbers, share=max_rows / available, salt=SAMPLE_SALT)
        chosen = int(np.count_nonzero(training))
        sample = {"road_users": chosen, "of": available, "setting": variable("accidents_max_people")}
    return {"training": training, "holdout": held_out, "all": training | held_out}[rows], sample


def list_sources(stored: dict[int, dict[str, Any]], years: list[int]) -> list[dict[str, str]]:
    """Name and sha256 of the published files of these years, for a version's lineage."""
    return [
        {"name": record["name"], "sha256": record["sha256"]}
        for year in years
        for record in stored[year]["files"].values()
    ]
