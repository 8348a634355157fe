"""The asset before the candidates of a movie training: the split into training and holdout ratings."""

from collections.abc import Iterator
from typing import Final

import dagster as dg
import numpy as np
import pandas as pd

from accident_reco.defs.pools import training_pool
from accident_reco.defs.resources import Platform
from accident_reco.defs.table_schema import build_lineage
from accident_reco.lifecycle.holdout import pairs_in_holdout
from accident_reco.models.movies.assets.ingest import warehouse_tables
from accident_reco.models.movies.data.formats import PUBLISHED
from accident_reco.models.movies.data.ratings import build_pair_keys
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.models.movies.training import loading

NO_LEAKAGE: Final = "no_holdout_leakage"
MIN_TRAINING_ROWS, MIN_HOLDOUT_ROWS = 500, 100


@dg.asset(
    key_prefix="movies",
    group_name="movies_training",
    code_version="1",
    deps=[warehouse_tables],
    kinds={"parquet", "sql"},
    io_manager_key="frames",
    pool=training_pool("movies"),
    description="Training and holdout ratings: users and movies with enough ratings; a frozen holdout by hash.",
    check_specs=[
        dg.AssetCheckSpec(
            NO_LEAKAGE,
            asset=["movies", "ratings_split"],
            blocking=True,
            description="No pair is in both parts; both have enough rows.",
        )
    ],
)
def ratings_split(platform: Platform) -> Iterator[dg.Output[pd.DataFrame] | dg.AssetCheckResult]:
    """Read the ratings as columns and split them."""
    settings = platform.settings.of(MovieSettings)
    options = loading.build_options(settings)
    loaded = loading.load_split(platform.objects, platform.warehouse, options.split, settings.movies_max_ratings)
    found = loaded.split
    data_source, _ = loading.load_sources(platform.objects)
    frame = loading.build_split_frame(found)
    # Stored with the frame, so that a version knows which of a user's ratings are newer than its rows.
    frame.attrs["received_until"] = loaded.received_until
    frame.attrs["sample"] = loaded.sample
    yield dg.Output(
        frame,
        metadata={
            "train": len(found.train),
            "holdout": len(found.holdout),
            "simulated": loaded.simulated,
            "sample": dg.MetadataValue.json(loaded.sample or {}),
            "data_source": data_source,
            "left_out": dg.MetadataValue.json(found.excluded),
            **build_lineage({name: [(warehouse_tables.key, name)] for name in PUBLISHED}),
        },
    )
    yield no_holdout_leakage(frame, settings.movies_holdout_share)


def no_holdout_leakage(split: pd.DataFrame, share: float) -> dg.AssetCheckResult:
    """Check that every pair is once in the part that its hash chooses, and that both parts are large enough."""
    held = split[loading.HOLDOUT].to_numpy(dtype=bool)
    user, movie = split["user_id"].to_numpy(np.int64), split["movie_id"].to_numpy(np.int64)
    wrong = int((pairs_in_holdout(user, movie, share) != held).sum())
    # Sorted: most keys occur once, where numpy's `unique` with its hash table takes ten times as long.
    repeated = int((np.diff(np.sort(build_pair_keys(user, movie))) == 0).sum())
    training, holdout = int((~held).sum()), int(held.sum())
    enough = training >= MIN_TRAINING_ROWS and holdout >= MIN_HOLDOUT_ROWS
    return dg.AssetCheckResult(
        check_name=NO_LEAKAGE,
        passed=wrong == 0 and repeated == 0 and enough,
        severity=dg.AssetCheckSeverity.ERROR,
        description=(
            f"{training:,} training and {holdout:,} holdout rows (at least {MIN_TRAINING_ROWS} and "
            f"{MIN_HOLDOUT_ROWS} are needed); {wrong} in the wrong part, {repeated} pairs repeated"
        ),
    )
