"""Top 10 of 60,000 movies: in process against Surprise's predict loop and implicit's `recommend`, then over HTTP.

Surprise's side is what its documentation does for a top n; implicit's recomputes the user from the same history, as
ours does. The version has the two heads that a training chooses, `hybrid` and `stack`; each peer is also compared with
the version of its own kind, so that equal models are compared.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.candidates.als import AlsOptions, compute_confidence
from accident_reco.models.movies.candidates.candidate import FitOptions
from accident_reco.models.movies.candidates.heads import compose_arrays
from accident_reco.models.movies.candidates.stack import StackOptions
from accident_reco.models.movies.candidates.svd import SvdOptions
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.formats import RatingReader
from accident_reco.models.movies.data.history import History
from accident_reco.models.movies.data.ingest import SourceFile, import_files
from accident_reco.models.movies.data.quarantine import RatingRules
from accident_reco.models.movies.data.ratings import Catalogue, Ratings, RatingScale
from accident_reco.models.movies.data.sample import SampleSpec, generate_movies_csv, generate_ratings_csv
from accident_reco.models.movies.scoring.packing import FILE, write_arrays
from accident_reco.models.movies.scoring.recommender import Recommender, RecommendOptions
from accident_reco.models.movies.training.arrays import PopularityOptions, build_arrays
from accident_reco.models.movies.training.fitting import fit
from accident_reco.models.movies.training.metrics import limit_blas_threads
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.comparisons.profiles import profile_call
from accident_reco_tests.bench.load import Target, apply_load
from accident_reco_tests.bench.peers import name_of_the_lock
from accident_reco_tests.bench.predict_process import running
from accident_reco_tests.support.toy import promote
from serving.auth.bootstrap import ensure_admin

MOVIES, RATINGS = 60_000, 1_000_000
USERS = 50
HEADS = (("hybrid", "stack"), ("svd", "svd"), ("als", "als"))
BOTH = "hybrid+stack"
MIB = 2**20
NOW = int(time.time())


@dataclass(frozen=True)
class World:
    """A catalogue with ratings, in the published format and in memory."""

    movie_file: bytes
    rating_file: bytes
    catalogue: Catalogue
    train: Ratings
    scale: RatingScale
    histories: dict[int, History]

    @property
    def users(self) -> list[int]:
        """Users who are asked for."""
        return list(self.histories)


def build_world(options: Options) -> World:
    """Sample files, read as an ingest reads them; histories of some users."""
    movies, ratings = max(500, int(MOVIES * options.scale)), max(6_000, int(RATINGS * options.scale))
    options.report(f"generating {movies:,} movies and about {ratings:,} ratings")
    spec = SampleSpec(ratings=ratings, movies=movies, seed=5, mean_ratings=150 if options.scale >= 1 else 30)
    movie_file, rating_file = generate_movies_csv(spec), b"".join(generate_ratings_csv(spec))
    catalogue = read_movies(movie_file, "movies.csv")
    reader = RatingReader(io.BytesIO(rating_file), "ratings.csv")
    rules = RatingRules(reader.scale, catalogue.movie_id, NOW)
    train = Ratings.concatenate([rules.partition_valid(chunk)[0] for chunk in reader]).sort_by_user()
    known = np.unique(train.user_id)
    histories = {}
    for user in np.random.default_rng(0).choice(known, min(USERS, len(known)), replace=False).tolist():
        rows = slice(*np.searchsorted(train.user_id, [user, user + 1]).tolist())
        histories[user] = History(train.movie_id[rows], train.rating[rows], train.rated_at[rows])
    return World(movie_file, rating_file, catalogue, train, reader.scale, histories)


def fit_versions(world: World, options: Options) -> dict[str, bytes]:
    """Array files of the versions by their heads."""
    data = IndexedRatings.from_ratings(world.train)
    # Epochs do not change what a recommendation costs.
    quick = (SvdOptions(epochs=2), AlsOptions(iterations=5), StackOptions(epochs=2))
    arrays = {}
    for kind in dict.fromkeys(kind for heads in HEADS for kind in heads):
        options.report(f"fitting {kind}")
        model = fit(CANDIDATES[kind], data, world.scale, FitOptions(tune=False, hyperparameters=quick))
        arrays[kind] = build_arrays(model, world.catalogue, world.train, world.scale, PopularityOptions())
    return {
        "+".join(dict.fromkeys(heads)): write_arrays(compose_arrays(arrays[heads[0]], arrays[heads[1]]))
        for heads in HEADS
    }


def compare(options: Options) -> list[Row]:
    """Milliseconds of a user's top 10, in process by side and over HTTP; size of the version."""
    world = build_world(options)
    files = fit_versions(world, options)
    (options.folder / FILE).write_bytes(files[BOTH])  # for the profile: fits take minutes
    versions = {heads: Recommender.from_files({FILE: content}) for heads, content in files.items()}
    work: dict[str, Callable[[int], object]] = {
        heads: partial(recommend, version, world) for heads, version in versions.items()
    }
    with limit_blas_threads():
        sides = {heads: partial(measure, call, world.users) for heads, call in work.items()}
        sides["fold-in"] = partial(measure, partial(fold_in, versions[BOTH], world), world.users)
        sides["Surprise"] = partial(measure, surprise_loop(world), world.users[:1])
        sides["implicit"] = partial(measure, implicit_recommend(world), world.users)
        times = take_turns(sides, options.rounds, options.report)
    what = f"top 10 of {len(world.catalogue):,} movies, known user, in process"
    surprise = name_of_the_lock("scikit-surprise", "Surprise's predict loop")
    implicit = name_of_the_lock("implicit", "implicit's recommend")
    rows = [
        Row(f"{what}, SVD", "ms", times["svd"], surprise, times["Surprise"], "speedup", Goal(50)),
        Row(f"{what}, two heads", "ms", times[BOTH], surprise, times["Surprise"], "speedup"),
        Row(f"{what}, ALS", "ms", times["als"], implicit, times["implicit"], "speedup"),
        Row(f"{what}, two heads", "ms", times[BOTH], implicit, times["implicit"], "speedup"),
        Row("folding a user in", "ms", times["fold-in"], goal=Goal(1, "most", "ours")),
        Row("file of the version with two heads", "MB", [len(files[BOTH]) / MIB], goal=Goal(60, "most", "ours")),
    ]
    return rows + over_http(world, files[BOTH], options)


def profile(options: Options) -> str:
    """Functions of our recommendation that take its time, over all users."""
    world = build_world(options)
    version = Recommender.from_files({FILE: (options.folder / FILE).read_bytes()})
    return profile_call(lambda: [recommend(version, world, user) for user in world.users])


def recommend(version: Recommender, world: World, user: int) -> object:
    """Top 10 of a known user with the history that the warehouse has."""
    return version.recommend(user, RecommendOptions(), world.histories[user])


def fold_in(version: Recommender, world: World, user: int) -> object:
    """State of a user from the ratings alone."""
    return version.build_state(None, world.histories[user])


def measure(call: Callable[[int], object], users: list[int]) -> float:
    """Mean milliseconds of a call, one per user, after a warm-up."""
    for user in users[:3]:
        call(user)
    started = time.perf_counter()
    for user in users:
        call(user)
    return (time.perf_counter() - started) * 1000 / len(users)


def surprise_loop(world: World) -> Callable[[int], object]:
    """Predict every movie and sort. Fitted on the ratings of some users: predicting costs the same."""
    import pandas as pd
    from surprise import SVD, Dataset, Reader

    some = world.train.take(world.train.user_id <= np.quantile(world.train.user_id, 0.2))
    frame = pd.DataFrame({"user": some.user_id, "item": some.movie_id, "rating": some.rating.astype(float)})
    trainset = Dataset.load_from_df(frame, Reader(rating_scale=(0.5, 5))).build_full_trainset()
    algorithm = SVD(n_epochs=1, random_state=0).fit(trainset)
    movies = world.catalogue.movie_id.tolist()

    def call(user: int) -> object:
        scored = [(movie, algorithm.predict(user, movie).est) for movie in movies]
        return sorted(scored, key=lambda pair: pair[1], reverse=True)[:10]

    return call


def implicit_recommend(world: World) -> Callable[[int], object]:
    """implicit's own top 10 of the same users, without what they rated, the user recomputed from the history."""
    import scipy.sparse as sparse
    from implicit.cpu.als import AlternatingLeastSquares

    data = IndexedRatings.from_ratings(world.train)
    confidences = data.build_matrix()
    confidences.data = compute_confidence(confidences.data)
    own = AlsOptions()
    model = AlternatingLeastSquares(factors=own.factors, iterations=5, regularization=own.regularization, num_threads=1)
    model.fit(confidences, show_progress=False)
    table = sparse.csr_matrix(confidences)
    place = {user: int(np.searchsorted(data.user_ids, user)) for user in world.users}

    def call(user: int) -> object:
        row = place[user]
        return model.recommend(row, table[row], N=10, filter_already_liked_items=True, recalculate_user=True)

    return call


def over_http(world: World, arrays: bytes, options: Options) -> list[Row]:
    """Tail of the service with the history read from the warehouse, a token and the log."""
    home = options.folder / "movies"
    options.report("importing the ratings for the service")
    prepare(home, arrays, world)
    known = [{"user_id": user, "count": 10} for user in world.users]
    ten = [{"ratings": [{"movie_id": movie, "rating": 4.0} for movie in range(1, 31, 3)], "count": 10}]
    with running(home) as server:
        sides = {
            name: Target(server.port, tuple(server.request(body, "/predict/movies") for body in bodies))
            for name, bodies in (("known user over HTTP", known), ("ten ratings over HTTP", ten))
        }
        tails = take_turns(
            {name: lambda target=target: apply_load(target, 1, options.seconds).p99 for name, target in sides.items()},
            options.rounds,
            options.report,
        )
        memory = server.rss_mb
    return [
        Row(
            "p99 of the top 10 of a known user over HTTP",
            "ms",
            tails["known user over HTTP"],
            goal=Goal(1.5, "most", "ours"),
        ),
        Row("p99 of the top 10 from ten ratings in the request over HTTP", "ms", tails["ten ratings over HTTP"]),
        Row("resident memory of the service with movies", "MB", [memory]),
    ]


def prepare(home: Path, arrays: bytes, world: World) -> None:
    """A home whose warehouse has every rating, with accounts and the version as champion."""
    settings = Settings.load(home=home)
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    import_files(
        warehouse,
        open_store(settings.store),
        SourceFile("ratings.csv", "r", lambda: io.BytesIO(world.rating_file)),
        SourceFile("movies.csv", "m", lambda: io.BytesIO(world.movie_file)),
        "sample",
        NOW,
    )
    warehouse.close()
    ensure_admin(settings)
    promote(home, Bundle("movies", {FILE: arrays}, {"kind": "hybrid"}, {"ndcg_at_10": 1.0}, {"data_source": "sample"}))
