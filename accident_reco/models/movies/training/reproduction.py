"""Saves and restores the inputs of a movie version: split ratings, catalogue, and the settings that shape it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.dataset import STORE, DatasetError, copy_objects, write_recipe
from accident_reco.models.movies.data import imports, queries, raw_store
from accident_reco.models.movies.settings import MovieSettings, MovieTraining
from accident_reco.models.movies.training import loading
from accident_reco.storage.objects import ObjectStore
from accident_reco.storage.warehouse import Warehouse

SETTINGS: Final = (*MovieTraining.model_fields, "seed", "training_jobs")
CATALOGUE: Final = "catalogue.parquet"


def save_inputs(
    store: ObjectStore, warehouse: Warehouse, settings: MovieSettings, candidate: Bundle, folder: Path
) -> None:
    """Write the candidate's inputs. Raises DatasetError when other files were stored since it was trained.

    Of the published ratings only the first line is kept, for their scale: the candidate was trained on the split, which
    also has the ratings that the API received.
    """
    _, sources = loading.load_sources(store)
    if sources != list(candidate.lineage["sources"]):
        raise DatasetError(
            f"movies {candidate.version} was trained on other files than are stored now; train again, so that the "
            "version and its inputs agree"
        )
    records = [raw_store.open_raw_file(store, which)[1] for which in ("raw_ratings", "raw_movies")]
    copy_objects(
        store, [loading.SPLIT, *(f"{raw_store.BASE}/{which}.json" for which in ("raw_ratings", "raw_movies"))], folder
    )
    with store.open(records[0].key) as stream:
        head = folder / STORE / records[0].key
        head.parent.mkdir(parents=True, exist_ok=True)
        head.write_bytes(stream.readline())
    catalogue = pd.DataFrame(queries.read_movies(warehouse), columns=["movie_id", "title", "genres"])
    catalogue.to_parquet(folder / CATALOGUE, index=False, compression="zstd")
    write_recipe(folder, candidate.model, candidate.version, settings, SETTINGS)


def restore_catalogue(folder: Path, warehouse: Warehouse) -> None:
    """Write the saved catalogue into an empty warehouse."""
    catalogue = pd.read_parquet(folder / CATALOGUE).assign(year=-1)
    imports.write_movies(warehouse, imports.start_load(warehouse, "", "", "reproduction"), catalogue)
