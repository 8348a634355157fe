"""What a movie training costs through Dagster against the bare fits of the same candidates on the same rows.

All sides are processes of their own. Dagster: `dagster job execute -j train_movies` from its start to its end: Python's
start, reading the warehouse, the split, all fits and measurements, checks, MLflow, the gate, the pointer; in the home
of a platform that has started, whose databases (Dagster's, MLflow's, the warehouse) exist. Bare: the same fits on the
same rows, one after the other; every candidate on every fold and once on all training rows, the winner once more for
the temporal report. Only the seconds inside the fits count: no reading, no predicting, no measuring.

Whose fits: `own` are the ones that Dagster runs, with this project's sparse KNN; what orchestration costs is shown by
these. `stock` (once, it takes long) are the libraries' as installed, on Surprise's own training set: what a script
without this project would run, dense similarities included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pandas as pd

from accident_reco.defs.steps import NICE
from accident_reco.launch.home import child_environment, prepare_home
from accident_reco.lifecycle.tracking import prepare_experiment
from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.candidates.candidate import FitOptions, MovieCandidate
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.data.ratings import RatingScale
from accident_reco.models.movies.training import candidate_training
from accident_reco.models.movies.training.fitting import fit
from accident_reco.settings import Settings
from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.movies_parity import KINDS as STOCK_KINDS
from accident_reco_tests.bench.movies_parity import stock


def stock_fit(candidate: MovieCandidate, data: IndexedRatings, scale: RatingScale, options: FitOptions) -> float:
    """Seconds of Surprise's own fit on its own training set; what ranks is implicit's in either case."""
    from surprise import Dataset, Reader

    if candidate.kind not in STOCK_KINDS:
        return fit(candidate, data, scale, options).fit_seconds
    frame = pd.DataFrame({"user": data.user, "item": data.movie, "rating": data.rating.astype(float)})
    trainset = Dataset.load_from_df(frame, Reader(rating_scale=(scale.low, scale.high))).build_full_trainset()
    started = time.perf_counter()
    stock(candidate.kind, options).fit(trainset)
    return time.perf_counter() - started


def own_fit(candidate: MovieCandidate, data: IndexedRatings, scale: RatingScale, options: FitOptions) -> float:
    """Seconds of the fit that Dagster runs."""
    return fit(candidate, data, scale, options).fit_seconds


def bare_fits(fit_seconds: Callable[..., float]) -> dict[str, float]:
    """Seconds that the fits of each candidate take, cross-validation included, and the temporal report's fit of the
    winner; nothing is measured or kept.
    """
    from accident_reco.defs.resources import Platform
    from accident_reco.models.movies.data.split import iterate_folds
    from accident_reco.models.movies.training import loading

    platform = Platform()
    options = loading.build_options(platform.settings)
    found = loading.load_split(
        platform.objects, platform.warehouse, options.split, platform.settings.movies_max_ratings
    ).split
    rows = loading.load_rows(loading.build_split_frame(found), platform.warehouse, platform.objects)
    data = IndexedRatings.from_ratings(rows.train)
    spent = {}
    for kind, candidate in CANDIDATES.items():
        parts = [data.take(train) for train, _ in iterate_folds(len(data), options.fit.seed)]
        spent[kind] = sum(fit_seconds(candidate.folds or candidate, part, rows.scale, options.fit) for part in parts)
        spent[kind] += fit_seconds(candidate, data, rows.scale, options.fit)
    champion, temporal = platform.models.champion(candidate_training.MODEL), candidate_training.split_by_time(rows)
    if champion and temporal:
        older = IndexedRatings.from_ratings(temporal[0])
        spent["temporal"] = fit_seconds(CANDIDATES[champion[1].signature["kind"]], older, rows.scale, options.fit)
    return {"rows": len(data), **spent}


RATINGS, MOVIES = 1_000_000, 60_000
MODULE = "accident_reco_tests.bench.comparisons.training"
SIDES: dict[str, Callable[..., float]] = {"own": own_fit, "stock": stock_fit}


def run(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """Wall seconds and output of a command that must succeed."""
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return seconds, done.stdout


def job(name: str) -> list[str]:
    """Dagster's own command to run a job, as its daemon does."""
    return [sys.executable, "-m", "dagster", "job", "execute", "-m", "accident_reco.definitions", "-j", name]


def prepare(options: Options) -> dict[str, str]:
    """Ratings in a home whose databases exist; variables of its processes."""
    settings = Settings.load(
        home=options.folder / "training",
        movies_sample_ratings=max(6_000, int(RATINGS * options.scale)),
        movies_sample_movies=max(500, int(MOVIES * options.scale)),
    )
    prepare_home(settings)
    environment = child_environment(settings, dict(os.environ)) | {
        "ACCIDENT_RECO_MOVIES_SOURCE": settings.movies_source,
        "ACCIDENT_RECO_MOVIES_SAMPLE_RATINGS": str(settings.movies_sample_ratings),
        "ACCIDENT_RECO_MOVIES_SAMPLE_MOVIES": str(settings.movies_sample_movies),
    }
    options.report("ingesting the ratings")
    run([sys.executable, "-m", "dagster", "instance", "migrate"], environment)
    prepare_experiment(settings.tracking_uri, candidate_training.MODEL, settings.home / "mlartifacts")
    run(job("ingest_movies"), environment)
    return environment


def measure_fits(side: str, environment: dict[str, str]) -> tuple[int, float]:
    """Training ratings, and seconds of all fits of a side."""
    _, printed = run([sys.executable, "-m", MODULE, side], environment)
    spent: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return int(spent.pop("rows")), sum(spent.values())


def compare(options: Options) -> list[Row]:
    """Seconds of a training through Dagster and of the bare fits."""
    environment = prepare(options)
    seen = []

    def measure_own() -> float:
        rows, seconds = measure_fits("own", environment)
        seen.append(rows)
        return seconds

    times = take_turns(
        {"Dagster": lambda: run(job("train_movies"), environment)[0], "own": measure_own},
        options.rounds,
        options.report,
    )
    options.report("the libraries' own fits")
    _, stock_seconds = measure_fits("stock", environment)
    what = f"training of all movie candidates on {seen[0]:,} ratings through Dagster"
    return [
        Row(what, "s", times["Dagster"], "the same fits, bare", times["own"], "cost", Goal(1.3, "most")),
        Row(what, "s", times["Dagster"][-1:], "the libraries' fits, bare", [stock_seconds], "cost"),
    ]


if __name__ == "__main__":
    os.nice(NICE)  # as steps do: what else the machine has to do weighs on both sides alike
    print(json.dumps(bare_fits(SIDES[sys.argv[1]])))
