"""What the assets of the movie model share: options from the settings, rows from frames, the sources of a version."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.models.movies.data import imports, raw_store
from accident_reco.models.movies.data import queries as storage
from accident_reco.models.movies.data.quarantine import refusals
from accident_reco.models.movies.data.ratings import Catalogue, Ratings
from accident_reco.models.movies.data.split import Split, SplitOptions, split, users_taken
from accident_reco.models.movies.scoring.arrays import PopularityOptions
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.models.movies.training import gating
from accident_reco.models.movies.training.candidates import Options, Rows
from accident_reco.models.movies.training.choice import ChoiceRule
from accident_reco.models.movies.training.fitting import ModelOptions
from accident_reco.storage.objects import ObjectStore
from accident_reco.storage.warehouse import Warehouse

HOLDOUT = "holdout"
SIMULATED = "simulated"


def options_of(settings: MovieSettings) -> Options:
    """Training options as configured."""
    return Options(
        ModelOptions(seed=settings.seed, threads=settings.training_jobs),
        SplitOptions(
            settings.movies_min_user_ratings, settings.movies_min_movie_ratings, settings.movies_holdout_share
        ),
        PopularityOptions(half_life_days=settings.movies_half_life_days),
    )


def rule_of(settings: MovieSettings) -> ChoiceRule:
    """The rule that chooses among candidates."""
    return ChoiceRule(rmse_tolerance=settings.movies_rmse_tolerance)


def policy_of(settings: MovieSettings) -> GatePolicy:
    """The gate's policy for movies."""
    return gating.policy(settings.movies_floor, settings.movies_minimum_gain, settings.movies_rmse_slack)


def split_of(warehouse: Warehouse, options: SplitOptions, most: int) -> tuple[Split, int, int]:
    """The split of about `most` stored ratings, how many of them are simulated, and the newest `received_at`."""
    stored = storage.read_ratings(warehouse, users_taken(most, storage.count_ratings(warehouse)))
    read = len(stored.simulated)
    found = split(Ratings(**stored.columns), stored.simulated, options)
    if read < stored.stored:
        found.left_out[f"of users beyond the bound of about {most:,} ratings"] = stored.stored - read
    return found, int(stored.simulated.sum()), stored.received_until


def split_frame(found: Split) -> pd.DataFrame:
    """One frame of both parts, narrow columns, `holdout` telling them apart; `simulated` marks made-up rows."""
    frames = []
    for part, held, simulated in ((found.train, False, found.simulated), (found.holdout, True, False)):
        frame = part.frame().astype({"user_id": np.int32, "movie_id": np.int32})
        frames.append(frame.assign(**{HOLDOUT: held, SIMULATED: simulated}))
    return pd.concat(frames, ignore_index=True)


def rows_of(frame: pd.DataFrame, warehouse: Warehouse, store: ObjectStore) -> Rows:
    """What candidates are trained and judged on, from the split's frame."""
    held = frame[HOLDOUT].to_numpy(dtype=bool)
    everything = Ratings.from_frame(frame)
    # Frames that were kept before the mark have no such column.
    simulated = frame[SIMULATED].to_numpy(dtype=bool)[~held] if SIMULATED in frame else None
    return Rows(
        everything.take(~held), everything.take(held), catalogue_of(warehouse), raw_store.rating_scale(store), simulated
    )


def catalogue_of(warehouse: Warehouse) -> Catalogue:
    """The stored catalogue."""
    found = storage.read_movies(warehouse)
    return Catalogue.of([row[0] for row in found], [row[1] for row in found], [row[2] for row in found])


def data_problems(warehouse: Warehouse) -> list[str]:
    """Why the stored ratings may not teach: too many rows of the files that they are from were refused."""
    load = imports.last_load(warehouse)
    few, told = refusals(load.rows, load.quarantined) if load else (True, "")
    return [] if few else [told]


def imported(store: ObjectStore, warehouse: Warehouse) -> bool:
    """Whether the warehouse holds the stored files in full, with few enough rows refused."""
    ratings, movies = (raw_store.raw_record(store, which) for which in ("raw_ratings", "raw_movies"))
    if ratings is None or movies is None:
        return False
    load = imports.finished_load(warehouse, ratings.sha256, movies.sha256, ratings.data_source)
    return load is not None and refusals(load.rows, load.quarantined)[0]


def sources_of(store: ObjectStore) -> tuple[str, list[dict[str, str]]]:
    """Data source and the raw files with their digests, for a version's lineage."""
    records = [raw_store.raw_file(store, which)[1] for which in ("raw_ratings", "raw_movies")]
    return records[0].data_source, [{"name": record.name, "sha256": record.sha256} for record in records]


def headline(metrics: Any) -> str:
    """The one line that a person reads first."""
    return f"NDCG@10 {metrics['ndcg_at_10']:.3f}, recall@10 {metrics['recall_at_10']:.3f}, RMSE {metrics['rmse']:.3f}"
