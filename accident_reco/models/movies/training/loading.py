"""Loads what a training needs: options from settings, rows from the split's frame, sources from the object store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd

from accident_reco.lifecycle.bundle import canonical_json, sha256
from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.models.movies.candidates.candidate import FitOptions
from accident_reco.models.movies.candidates.spark_fit import SparkCluster
from accident_reco.models.movies.data import imports, queries, rating_columns, raw_store
from accident_reco.models.movies.data.quarantine import check_quarantine
from accident_reco.models.movies.data.ratings import Catalogue, Ratings
from accident_reco.models.movies.data.split import Split, SplitOptions, select_users, split
from accident_reco.models.movies.data.staged_ratings import StagedRatings
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.models.movies.training import gating, metrics
from accident_reco.models.movies.training.arrays import PopularityOptions
from accident_reco.models.movies.training.candidate_training import TrainingOptions, TrainingRows
from accident_reco.settings import variable
from accident_reco.storage.objects import ObjectStore
from accident_reco.storage.warehouse import Warehouse

SPLIT: Final = f"{raw_store.BASE}/ratings_split/all.parquet"
"""Key of the asset in the store."""
HOLDOUT = "holdout"
SIMULATED = "simulated"


def build_options(
    settings: MovieSettings, stage: Callable[[], AbstractContextManager[StagedRatings]] | None = None
) -> TrainingOptions:
    """Training options as configured.

    Args:
        stage: makes all ratings readable for Spark, where a setting names its master; None: this machine fits.
    """
    split_options = SplitOptions(
        settings.movies_min_user_ratings, settings.movies_min_movie_ratings, settings.movies_holdout_share
    )
    spark, half_life = None, settings.movies_half_life_days
    if stage is not None and settings.spark_master:
        spark = SparkCluster(settings.spark_master, stage, split_options, half_life, metrics.LIKED, metrics.TOP)
    return TrainingOptions(
        FitOptions(seed=settings.seed, threads=settings.training_jobs, spark=spark),
        split_options,
        PopularityOptions(half_life_days=half_life),
    )


def build_gate_policy(settings: MovieSettings) -> GatePolicy:
    """The gate's policy, as configured."""
    return gating.build_policy(settings.movies_floor, settings.movies_minimum_gain, settings.movies_rmse_slack)


@dataclass(frozen=True)
class LoadedSplit:
    """The split of a training.

    Args:
        simulated: number of simulated ratings that were read.
        received_until: newest `received_at` (ms UTC) of all stored ratings.
        sample: how much was read of what is stored, and by which setting; None: everything.
    """

    split: Split
    simulated: int
    received_until: int
    sample: dict[str, Any] | None


def load_split(store: ObjectStore, warehouse: Warehouse, options: SplitOptions, max_ratings: int) -> LoadedSplit:
    """Split all stored ratings, or about `max_ratings` of them where it is not 0."""
    chosen = partial(select_users, max_ratings) if max_ratings else None
    stored = rating_columns.read_ratings(store, warehouse, chosen)
    read = len(stored.simulated)
    found = split(stored.ratings, stored.simulated, options)
    sample = None
    if read < stored.stored:
        found.excluded[f"of users beyond the bound of about {max_ratings:,} ratings"] = stored.stored - read
        sample = {"ratings": read, "of": stored.stored, "setting": variable("movies_max_ratings")}
    return LoadedSplit(found, int(stored.simulated.sum()), stored.received_until, sample)


def build_split_frame(found: Split) -> pd.DataFrame:
    """One frame of both parts with narrow columns; `holdout` and `simulated` mark their rows."""
    frames = []
    for part, held, simulated in ((found.train, False, found.simulated), (found.holdout, True, False)):
        frame = part.to_frame().astype({"user_id": np.int32, "movie_id": np.int32})
        frames.append(frame.assign(**{HOLDOUT: held, SIMULATED: simulated}))
    return pd.concat(frames, ignore_index=True)


def load_rows(frame: pd.DataFrame, warehouse: Warehouse, store: ObjectStore) -> TrainingRows:
    """Training and holdout rows from the split's frame, with the stored catalogue and scale."""
    # Training rows first: slices of the frame's columns are no copies, where masks would be.
    held = frame[HOLDOUT].to_numpy(dtype=bool)
    if (held[1:] < held[:-1]).any():
        raise ValueError("the split's training rows must come before its holdout")
    end = len(held) - int(held.sum())
    # Frames that were stored before the column existed lack it.
    simulated = frame[SIMULATED].to_numpy(dtype=bool)[:end] if SIMULATED in frame else None
    scale = raw_store.read_rating_scale(store)
    train, holdout = (Ratings.from_frame(part) for part in (frame.iloc[:end], frame.iloc[end:]))
    return TrainingRows(train, holdout, load_catalogue(warehouse), scale, simulated)


def load_catalogue(warehouse: Warehouse) -> Catalogue:
    """The stored catalogue."""
    return Catalogue.from_rows(queries.read_movies(warehouse))


def find_data_problems(warehouse: Warehouse) -> list[str]:
    """Why the stored ratings must not train: too many rows of their files are in quarantine."""
    load = imports.read_last_load(warehouse)
    passed, reason = check_quarantine(load.rows, load.quarantined) if load else (True, "")
    return [] if passed else [reason]


def is_imported(store: ObjectStore, warehouse: Warehouse) -> bool:
    """Whether the warehouse holds the stored files in full, with few enough rows in quarantine."""
    ratings, movies = (raw_store.read_record(store, which) for which in ("raw_ratings", "raw_movies"))
    if ratings is None or movies is None:
        return False
    load = imports.find_finished_load(warehouse, ratings.sha256, movies.sha256, ratings.data_source)
    return load is not None and check_quarantine(load.rows, load.quarantined)[0]


def load_sources(store: ObjectStore) -> tuple[str, list[dict[str, str]]]:
    """Data source and the raw files with their digests, for a version's lineage."""
    records = [raw_store.open_raw_file(store, which)[1] for which in ("raw_ratings", "raw_movies")]
    return records[0].data_source, [{"name": record.name, "sha256": record.sha256} for record in records]


def build_data_version(store: ObjectStore, received_until: int) -> str:
    """Identity of a training's data: the stored files, and the newest received rating (ms UTC); empty without files."""
    records = [raw_store.read_record(store, which) for which in ("raw_ratings", "raw_movies")]
    if None in records:
        return ""
    files = [(record.data_source, record.sha256) for record in records if record is not None]
    return sha256(canonical_json([files, received_until]))


def build_headline(metrics: Mapping[str, Any]) -> str:
    """The main metrics in one line."""
    return f"NDCG@10 {metrics['ndcg_at_10']:.3f}, recall@10 {metrics['recall_at_10']:.3f}, RMSE {metrics['rmse']:.3f}"
