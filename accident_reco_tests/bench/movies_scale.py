"""Time and memory of every step of a movie training on a large rating file, each step a process of its own.

Run: python -m accident_reco_tests.bench.movies_scale HOME [--ratings N] [--movies N] [--only STAGE…]

The file is a generated sample in the published format, or with `--source` that of a folder. A home of `ratings_load`
is loaded already: `movies_scale HOME --source HOME --only file split …`. A candidate's stage reads the split,
cross-validates, fits, evaluates and packs, as the asset of that candidate does; `best` completes the version of those
that are there. `ACCIDENT_RECO_TRAINING_JOBS` limits threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.data import ingest, raw_store
from accident_reco.models.movies.data.sources import open_source
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.models.movies.training import candidate_training, loading
from accident_reco.models.movies.training.candidate_training import TrainingRows
from accident_reco.models.movies.training.choice import ChoiceRule
from accident_reco.settings import Settings
from accident_reco.storage import frames
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.bench import stages
from accident_reco_tests.bench.stages import Stage

ROWS_PER_RATING = 1.94
"""Rows that the generator writes for each rating that it is asked for, where movies are many."""
PARTS = ("model", "signature", "metrics", "lineage", "history")


def load_settings(arguments: argparse.Namespace) -> MovieSettings:
    """Settings of a home; its sample has about so many ratings."""
    return Settings.load(
        home=arguments.home,
        movies_source=arguments.source,
        movies_sample_ratings=round(arguments.ratings / ROWS_PER_RATING),
        movies_sample_movies=arguments.movies,
    ).of(MovieSettings)


def fetch(arguments: argparse.Namespace) -> str:
    """Fetch or generate the files and store them."""
    settings = load_settings(arguments)
    store = open_store(settings.store)
    with closing(open_source(settings)) as source:
        ratings, _ = raw_store.fetch_raw(store, source, "raw_ratings")
        raw_store.fetch_raw(store, source, "raw_movies")
    return f"{ratings.size / 2**20:,.0f} MB"


def load(arguments: argparse.Namespace) -> str:
    """From the file to parts, and into SQLite, with quarantine."""
    settings = load_settings(arguments)
    store, database = open_store(settings.store), Warehouse(settings.database)
    database.upgrade()
    ratings, movies = raw_store.open_raw_file(store, "raw_ratings")[0], raw_store.open_raw_file(store, "raw_movies")[0]
    done = ingest.import_files(database, store, ratings, movies, "benchmark", int(time.time()))
    return f"{done.rows:,} ratings, {done.quarantined:,} in quarantine"


def split(arguments: argparse.Namespace) -> str:
    """Read what a training takes, filter, split, and store it."""
    settings = load_settings(arguments)
    options = loading.build_options(settings)
    store, database = open_store(settings.store), Warehouse(settings.database)
    found = loading.load_split(store, database, options.split, settings.movies_max_ratings).split
    path = arguments.home / "split.parquet"
    with path.open("wb") as stream:
        frames.write_parquet(loading.build_split_frame(found), stream)
    size = path.stat().st_size / 2**20
    return f"{len(found.train):,} training ratings, {len(found.holdout):,} in the holdout: {size:,.0f} MB"


def train(arguments: argparse.Namespace, kind: str) -> str:
    """Train one candidate."""
    rows, options = load_rows(arguments), loading.build_options(load_settings(arguments))
    options = replace(options, fit=replace(options.fit, tune=not arguments.untuned))
    done = candidate_training.train_candidate(kind, rows, options, {"data_source": "sample", "sample": None})
    folder = name_folder(arguments, kind)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in done.bundle.files.items():
        (folder / name).write_bytes(content)
    (folder / "bundle.json").write_text(json.dumps({part: getattr(done.bundle, part) for part in PARTS}))
    values = done.bundle.metrics
    size = sum(map(len, done.bundle.files.values())) / 2**20
    samples = (
        f"{one['ratings']:,} ratings for {purpose}"
        for fits in (done.bundle.lineage["sample"] or {}).get("fits", {}).values()
        for purpose, one in fits.items()
    )
    shown = f"NDCG@10 {values['ndcg_at_10']:.4f}, RMSE {values['rmse']:.4f}, bundle {size:,.0f} MB"
    return "; ".join([shown, f"fits {done.fit_seconds:,.0f} s", f"{len(done.folds)} folds", *samples])


def complete(arguments: argparse.Namespace) -> str:
    """Choose the two heads of the candidates that are there, and complete the version."""
    bundles = {}
    for kind in CANDIDATES:
        folder = name_folder(arguments, kind)
        if (folder / "bundle.json").exists():
            files = {"arrays.npz": (folder / "arrays.npz").read_bytes()}
            bundles[kind] = Bundle(files=files, **json.loads((folder / "bundle.json").read_text()))
    options = loading.build_options(load_settings(arguments))
    bundle, choice = candidate_training.complete_best(bundles, ChoiceRule(), load_rows(arguments), options)
    (arguments.home / "card.md").write_bytes(bundle.files["card.md"])
    size = sum(map(len, bundle.files.values())) / 2**20
    return f"{choice.kind} of {len(bundles)} candidates, {size:,.0f} MB"


def load_rows(arguments: argparse.Namespace) -> TrainingRows:
    """The rows of a training, from the stored split."""
    settings = load_settings(arguments)
    with (arguments.home / "split.parquet").open("rb") as stream:
        frame = frames.read_parquet(stream)
    return loading.load_rows(frame, Warehouse(settings.database), open_store(settings.store))


def name_folder(arguments: argparse.Namespace, kind: str) -> Path:
    """Where a candidate is kept."""
    folder: Path = arguments.home / "candidates" / kind
    return folder


STAGES: dict[str, Stage] = {
    "file": fetch,
    "load": load,
    "split": split,
    **{kind: partial(train, kind=kind) for kind in CANDIDATES},
    "best": complete,
}


def main() -> int:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=int, default=33_000_000)
    parser.add_argument("--movies", type=int, default=84_000)
    parser.add_argument("--source", default="sample")
    parser.add_argument("--untuned", action="store_true", help="fit with the hyperparameters that tuning starts from")
    return stages.run(parser, STAGES)


if __name__ == "__main__":
    sys.exit(main())
