"""Times movie recommendations on a 60,000-movie catalogue: in process, against Surprise's predict loop, over HTTP.

Run: python -m accident_reco_tests.bench.movies [movies] [ratings]
"""

import argparse
import io
import os
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.candidates.als import AlsOptions
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
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.data.sample import SampleSpec, generate_movies_csv, generate_ratings_csv
from accident_reco.models.movies.scoring.packing import FILE, write_arrays
from accident_reco.models.movies.scoring.recommender import Recommender, RecommendOptions
from accident_reco.models.movies.training.arrays import PopularityOptions, build_arrays
from accident_reco.models.movies.training.fitting import fit
from accident_reco.models.movies.training.metrics import limit_blas_threads
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.bench.predict import Server, exchange, running
from accident_reco_tests.support.toy import promote
from serving.auth.bootstrap import ensure_admin

USERS = 400
REQUESTS = 3_000
WARM = 200
ROUNDS = 3
NOW = int(time.time())


@dataclass(frozen=True)
class Timing:
    """Wall seconds of each call, and the mean CPU seconds of this thread: what a busy machine does not change much."""

    wall: list[float]
    cpu: float

    def __str__(self) -> str:
        p50, p99 = np.quantile(self.wall, [0.5, 0.99]) * 1000
        return f"p50 {p50:7.3f} ms   p99 {p99:7.3f} ms   CPU {self.cpu * 1000:7.3f} ms"


def timed(call: Callable[[int], object], users: list[int]) -> Timing:
    """One call per user, after a warm-up."""
    for user in users[:20]:
        call(user)
    wall, before = [], time.thread_time()
    for user in users:
        started = time.perf_counter()
        call(user)
        wall.append(time.perf_counter() - started)
    return Timing(wall, (time.thread_time() - before) / len(users))


def main(movies: int, ratings: int) -> None:
    """Make the catalogue, train, measure, print."""
    spec = SampleSpec(ratings=ratings, movies=movies, seed=5, mean_ratings=150)
    movie_file, rating_file = generate_movies_csv(spec), b"".join(generate_ratings_csv(spec))
    catalogue = read_movies(movie_file, "movies.csv")
    reader = RatingReader(io.BytesIO(rating_file), "ratings.csv")
    rules = RatingRules(reader.scale, catalogue.movie_id, NOW)
    train = Ratings.concatenate([rules.partition_valid(chunk)[0] for chunk in reader]).sort_by_user()
    data = IndexedRatings.from_ratings(train)
    print(f"{len(catalogue):,} movies, {len(train):,} ratings, {len(data.user_ids):,} users; {os.cpu_count()} cores")
    users = np.random.default_rng(0).choice(data.user_ids, USERS, replace=False).tolist()
    histories = {}
    for user in users:
        rows = slice(*np.searchsorted(train.user_id, [user, user + 1]).tolist())
        histories[user] = History(train.movie_id[rows], train.rating[rows], train.rated_at[rows])

    files = {}
    # Epochs do not change what a prediction costs.
    quick = (SvdOptions(epochs=2), AlsOptions(iterations=5), StackOptions(epochs=2))
    options = FitOptions(tune=False, hyperparameters=quick)
    for heads in (("svd", "svd"), ("als", "als"), ("hybrid", "stack")):
        arrays = []
        for kind in dict.fromkeys(heads):
            model = fit(CANDIDATES[kind], data, reader.scale, options)
            arrays.append(build_arrays(model, catalogue, train, reader.scale, PopularityOptions()))
        kind = "+".join(dict.fromkeys(heads))
        files[kind] = write_arrays(compose_arrays(arrays[0], arrays[-1]))
        version = Recommender.from_files({FILE: files[kind]})
        print(f"\n{kind}: bundle {len(files[kind]) / 2**20:.1f} MB, arrays {version.nbytes / 2**20:.1f} MB in memory")
        with limit_blas_threads():
            ours = timed(
                lambda user, version=version: version.recommend(user, RecommendOptions(), histories[user]), users
            )
            print(f"  top 10, known user       {ours}")
            for size in (1, 20, 100, 500):
                some = {u: History(h.movie_id[:size], h.rating[:size], h.rated_at[:size]) for u, h in histories.items()}
                folded = timed(lambda user, some=some, version=version: version.build_state(None, some[user]), users)
                print(f"  fold-in, ≤ {size:3} ratings     {folded}")
        if kind == "svd":
            loop = timed_surprise(stock_svd(train), version, users[:3])
            ratio = loop / ours.cpu
            print(f"  Surprise's predict loop CPU {loop * 1000:.0f} ms for one user: {ratio:,.0f} × ours (≥ 50)")

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        prepare(home, files["hybrid+stack"], rating_file, movie_file)
        over_http(home, data.user_ids)


def stock_svd(train: Ratings) -> object:
    """Surprise's SVD on Surprise's own training set, of the ratings of some users: predicting costs the same."""
    import pandas as pd
    from surprise import SVD, Dataset, Reader

    some = train.take(train.user_id <= np.quantile(train.user_id, 0.2))
    frame = pd.DataFrame({"user": some.user_id, "item": some.movie_id, "rating": some.rating.astype(float)})
    trainset = Dataset.load_from_df(frame, Reader(rating_scale=(0.5, 5))).build_full_trainset()
    return SVD(n_epochs=1, random_state=0).fit(trainset)


def timed_surprise(algorithm: object, version: Recommender, users: list[int]) -> float:
    """CPU seconds of Surprise predicting every movie for a user and sorting, as its documentation does for a top n."""
    seconds = []
    for user in users:
        started = time.thread_time()
        scored = [(movie, algorithm.predict(user, movie).est) for movie in version.movie_id.tolist()]
        scored.sort(key=lambda pair: pair[1], reverse=True)
        seconds.append(time.thread_time() - started)
    return float(np.mean(seconds))


def prepare(home: Path, arrays: bytes, rating_file: bytes, movie_file: bytes) -> None:
    """A home whose warehouse holds every rating, with accounts and the version as champion."""
    settings = Settings.load(home=home)
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    import_files(
        warehouse,
        open_store(settings.store),
        SourceFile("ratings.csv", "r", lambda: io.BytesIO(rating_file)),
        SourceFile("movies.csv", "m", lambda: io.BytesIO(movie_file)),
        "sample",
        NOW,
    )
    warehouse.close()
    ensure_admin(settings)
    promote(home, Bundle("movies", {FILE: arrays}, {"kind": "hybrid"}, {"ndcg_at_10": 1.0}, {"data_source": "sample"}))


def over_http(home: Path, user_ids: np.ndarray) -> None:
    """The predict service as a process with a real token and the log on; this process asks, one request at a time."""
    users = np.random.default_rng(1).choice(user_ids, REQUESTS).tolist()
    rated = [{"movie_id": movie, "rating": 4.0} for movie in range(1, 31, 3)]
    with running(home) as server:
        for name, bodies in (
            *[("known user", [{"user_id": user, "count": 10} for user in users])] * ROUNDS,
            ("ten ratings", [{"ratings": rated, "count": 10}] * (REQUESTS // 4)),
        ):
            before = server.cpu_seconds
            wall = asked(server, bodies)
            p50, p99 = np.quantile(wall, [0.5, 0.99])
            spent = (server.cpu_seconds - before) * 1000 / (len(bodies) + WARM)
            print(f"HTTP, two heads, {name:13} p50 {p50:6.2f} ms   p99 {p99:6.2f} ms   server CPU {spent:.2f} ms")
        print(f"server's resident memory {server.rss_mb:.0f} MB; p99 of a known user below 5 ms")


def asked(server: Server, bodies: list[dict[str, Any]]) -> list[float]:
    """Milliseconds of each request on one connection, after a warm-up."""
    wall = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for nth, body in enumerate(bodies[:WARM] + bodies):
            request = server.request(body, "/predict/movies")
            started = time.perf_counter()
            exchange(connection, request)
            if nth >= WARM:
                wall.append((time.perf_counter() - started) * 1000)
    return wall


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("movies", nargs="?", type=int, default=60_000, help="in the catalogue (default: %(default)s)")
    parser.add_argument("ratings", nargs="?", type=int, default=1_000_000, help="about (default: %(default)s)")
    main(**vars(parser.parse_args()))
