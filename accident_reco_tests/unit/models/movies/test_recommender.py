"""The recommender's answers for every kind of user, with numpy alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from accident_reco.lifecycle.holdout import pairs_in_holdout
from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.candidates.candidate import narrow_positions
from accident_reco.models.movies.candidates.heads import compose_arrays
from accident_reco.models.movies.candidates.selection import select_best
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.data.history import EMPTY_HISTORY, History
from accident_reco.models.movies.data.ratings import Catalogue, Ratings, build_pair_keys
from accident_reco.models.movies.scoring.lookup import UnknownMovie
from accident_reco.models.movies.scoring.packing import FILE, read_arrays, write_arrays
from accident_reco.models.movies.scoring.recommender import Recommender, RecommendOptions
from accident_reco.models.movies.scoring.simulate import FIRST_NEW_USER, simulate
from accident_reco.models.movies.training import fitting
from accident_reco.models.movies.training.arrays import build_arrays
from accident_reco.models.movies.training.candidate_training import TrainingOptions, TrainingRows

BIASES = ("user_bias", "movie_bias", "global_mean")


@pytest.fixture(scope="module")
def bundles(sample_rows: TrainingRows, options: TrainingOptions) -> dict[str, bytes]:
    """The arrays of one version of each kind, as a bundle holds them."""
    bundles = {}
    for kind in CANDIDATES:
        model = fitting.fit(
            CANDIDATES[kind], IndexedRatings.from_ratings(sample_rows.train), sample_rows.scale, options.fit
        )
        arrays = build_arrays(model, sample_rows.catalogue, sample_rows.train, sample_rows.scale, options.popularity)
        bundles[kind] = write_arrays(arrays)
    return bundles


@pytest.fixture(scope="module")
def versions(bundles: dict[str, bytes]) -> dict[str, Recommender]:
    """One version of each kind."""
    return {kind: Recommender.from_files({FILE: content}) for kind, content in bundles.items()}


def build_history(rows: TrainingRows, user: int, newer: bool = False) -> History:
    mine = rows.train.take(rows.train.user_id == user)
    return History(mine.movie_id, mine.rating, mine.rated_at, newer)


@pytest.fixture(params=CANDIDATES)
def version(versions: dict[str, Recommender], request: pytest.FixtureRequest) -> Recommender:
    return versions[request.param]


def test_known_user_gets_unseen_movies(version: Recommender, sample_rows: TrainingRows) -> None:
    """Seen movies are excluded unless requested; the list is ordered; stars lie on the scale."""
    user = int(sample_rows.train.user_id[0])
    history = build_history(sample_rows, user)
    answer = version.recommend(user, RecommendOptions(count=20), history)
    assert (answer.reason, answer.note, len(answer.movies)) == ("personalised", None, 20)
    assert not set(answer.movies.movie_id.tolist()) & set(history.movie_id.tolist())
    scores = answer.movies.score.tolist()
    assert scores == sorted(scores, reverse=True)
    assert all(0.5 <= stars <= 5 for stars in answer.movies.stars.tolist())
    everything = version.recommend(user, RecommendOptions(count=100, include_seen=True), history)
    assert set(everything.movies.movie_id.tolist()) & set(history.movie_id.tolist())


def test_one_rating_is_enough(version: Recommender) -> None:
    """Fold-in without a stored user, from one rating on; the rated movie is not recommended."""
    rated = int(version.movie_id[version.rating_count.argmax()])
    answer = version.recommend(
        None, RecommendOptions(because=True), request_ratings=History.from_ratings([rated], [5.0])
    )
    assert answer.reason == "fold_in"
    assert len(answer.movies) == 10
    assert rated not in set(answer.movies.movie_id.tolist())


def test_ratings_beyond_the_newest_are_not_called_unknown(version: Recommender) -> None:
    """Folding in looks at the newest 500; ratings beyond these are not reported as unknown."""
    many = np.tile(version.movie_id[version.rating_count > 0], 3)[:600]
    answer = version.recommend(
        None,
        RecommendOptions(include_seen=True),
        request_ratings=History.from_ratings(many.tolist(), [4.0] * len(many)),
    )
    assert (answer.reason, answer.note) == ("fold_in", None)


def test_the_best_are_found_without_scoring_everything(
    versions: dict[str, Recommender], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search that ends early returns the best of the whole ranking, for any user and any mask."""
    from accident_reco.models.movies.candidates import als

    monkeypatch.setattr(als, "BLOCK", 16)
    scorer, random = versions["als"].ranking, np.random.default_rng(5)
    for user in random.integers(0, len(versions["als"].user_id), 60).tolist():
        state = scorer.load_user(user, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        allowed = random.random(len(versions["als"].movie_id)) < random.choice([0.02, 0.5, 1.0])
        rows, score = scorer.select_best(state, allowed, 10)
        expected, by_all = select_best(scorer.score_all(state), allowed, 10)
        assert rows.tolist() == expected.tolist()
        assert score == pytest.approx(by_all, abs=1e-6)


def test_sums_of_factors_and_weights_find_the_best_of_all(
    bundles: dict[str, bytes], sample_rows: TrainingRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Movies with and without item weights are searched apart; the list is that of the whole ranking."""
    from accident_reco.models.movies.candidates import als

    arrays = read_arrays(bundles["hybrid"])
    # Half of the movies lose their weights, as those beyond the dense part.
    movies = len(arrays["movie_id"])
    start, target = arrays["items:weight_start"], arrays["items:weight_movie"]
    source = np.repeat(np.arange(movies), np.diff(start))
    kept = (source % 2 == 0) & (target % 2 == 0)
    arrays["items:weight_start"] = np.concatenate([[0], np.cumsum(np.bincount(source[kept], minlength=movies))])
    arrays["items:weight_movie"], arrays["items:weight"] = target[kept], arrays["items:weight"][kept]
    monkeypatch.setattr(als, "BLOCK", 16)
    version, random = Recommender(arrays), np.random.default_rng(5)
    for user in random.choice(version.user_id, 30).tolist():
        states = version.build_state(user, build_history(sample_rows, user))
        assert states is not None
        allowed = random.random(movies) < random.choice([0.02, 0.5, 1.0])
        rows, score = version.ranking.select_best(states.ranking, allowed, 10)
        expected, by_all = select_best(version.ranking.score_all(states.ranking), allowed, 10)
        assert rows.tolist() == expected.tolist()
        assert score == pytest.approx(by_all, abs=1e-6)


def widen(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays as versions before held them: positions in 32 bits, and the biases once for each part."""
    old = dict(arrays)
    for name in arrays:
        kind, _, own = name.rpartition(":")
        if own in ("weight_movie", "neighbour"):
            old[name] = arrays[name].astype(np.int32)
        if kind:
            old |= {f"{kind}:{bias}": arrays.get(f"{kind}:{bias}", arrays[bias]) for bias in BIASES}
    return old


@pytest.mark.parametrize("kind", ["ease", "slim", "hybrid", "knn", "stack"])
def test_bundles_of_versions_before_answer_the_same(
    kind: str, bundles: dict[str, bytes], versions: dict[str, Recommender], sample_rows: TrainingRows
) -> None:
    """A bundle holds each position in as few bytes as it needs and each array once; nothing else has changed."""
    arrays = read_arrays(bundles[kind])
    old = Recommender(widen(arrays))
    assert arrays[next(name for name in arrays if name.endswith(("weight_movie", "neighbour")))].dtype == np.uint16
    for user in versions[kind].user_id[:10].tolist():
        history = build_history(sample_rows, user)
        now, before = (version.recommend(user, RecommendOptions(), history) for version in (versions[kind], old))
        assert now.movies.movie_id.tolist() == before.movies.movie_id.tolist()
        assert now.movies.score.tolist() == before.movies.score.tolist()
        assert now.movies.stars.tolist() == before.movies.stars.tolist()


@pytest.mark.parametrize("kind", ["hybrid", "stack"])
def test_a_bundle_holds_no_array_twice(kind: str, bundles: dict[str, bytes]) -> None:
    """Biases that parts share with the whole are stored once."""
    arrays = read_arrays(bundles[kind])
    whole = {name: values for name, values in arrays.items() if name in BIASES}
    assert whole.keys() == set(BIASES)
    twice = [name for name in arrays if ":" in name for bias in BIASES if np.array_equal(arrays[name], whole[bias])]
    assert twice == []


@pytest.mark.parametrize(("movies", "kind"), [(65_536, np.uint16), (65_537, np.int32)])
def test_positions_are_as_wide_as_the_catalogue_needs(movies: int, kind: type) -> None:
    """The last movie of a catalogue keeps its position."""
    packed = narrow_positions(np.array([0, movies - 1]), movies)
    assert packed.dtype == kind
    assert packed.tolist() == [0, movies - 1]


@pytest.mark.parametrize("kind", ["ease", "slim", "hybrid"])
def test_explanations_are_the_terms_of_the_score(
    versions: dict[str, Recommender], sample_rows: TrainingRows, kind: str
) -> None:
    """What each rating contributes adds up to the score; `because` names the two largest contributions."""
    version = versions[kind]
    user = int(sample_rows.train.user_id[0])
    history = build_history(sample_rows, user)
    states = version.build_state(user, history)
    assert states is not None
    answer = version.recommend(user, RecommendOptions(because=True), history)
    terms = version.ranking.compute_contributions(states.ranking, answer.movies.row)
    assert terms.shape == (10, len(history))
    assert terms.sum(axis=1) == pytest.approx(answer.movies.score, abs=1e-5)
    for row, because in zip(terms, answer.movies.because, strict=True):
        largest = states.ranking.movie[np.argsort(-row, kind="stable")[: len(because)]]
        assert [one.movie_id for one in because] == version.movie_id[largest].tolist()
        assert len(because) == 2


@pytest.mark.parametrize("kind", ["ease", "slim", "hybrid"])
def test_users_known_by_their_ratings_need_them(versions: dict[str, Recommender], kind: str) -> None:
    """Without the stored ratings these kinds know nothing of a user: popular movies, with a note that says why."""
    answer = versions[kind].recommend(int(versions[kind].user_id[0]), RecommendOptions())
    assert answer.reason == "popular"
    assert answer.note == "the user's stored ratings are not available: popular movies, some of them maybe seen"


def test_a_version_of_two_heads(bundles: dict[str, bytes], sample_rows: TrainingRows) -> None:
    """Order, explanations and similar movies are the ranking head's, stars the other's; written and read back."""
    composed = compose_arrays(read_arrays(bundles["ease"]), read_arrays(bundles["stack"]))
    both = Recommender.from_files({FILE: write_arrays(composed)})
    order, stars = (Recommender.from_files({FILE: bundles[kind]}) for kind in ("ease", "stack"))
    user = int(sample_rows.train.user_id[0])
    history = build_history(sample_rows, user)
    options = RecommendOptions(because=True)
    for one in (user, None):
        ratings = history if one is None else EMPTY_HISTORY
        found = both.recommend(one, options, history, ratings)
        alone = order.recommend(one, options, history, ratings)
        assert found.movies.movie_id.tolist() == alone.movies.movie_id.tolist()
        assert found.movies.score.tolist() == alone.movies.score.tolist()
        assert found.movies.because == alone.movies.because
        assert found.movies.stars == pytest.approx(stars.predict(one, found.movies.movie_id, history))
        assert found.movies.stars.tolist() != alone.movies.stars.tolist()
    requested = both.movie_id[:200]
    assert both.predict(user, requested, history).tolist() == stars.predict(user, requested, history).tolist()
    pairs = [np.full(len(requested), user), requested, sample_rows.train.user_id]
    rated = History(sample_rows.train.movie_id, sample_rows.train.rating, sample_rows.train.rated_at)
    assert np.array_equal(both.predict_pairs(*pairs, rated), stars.predict_pairs(*pairs, rated), equal_nan=True)
    movie = int(both.movie_id[both.rating_count.argmax()])
    assert (
        both.find_similar(movie, RecommendOptions()).movies.movie_id.tolist()
        == order.find_similar(movie, RecommendOptions()).movies.movie_id.tolist()
    )


def test_one_kind_for_both_heads_is_a_bundle_as_before(bundles: dict[str, bytes]) -> None:
    """Bundles of one kind have no second head: older versions load and serve, and new ones do not grow."""
    arrays = read_arrays(bundles["svd"])
    assert set(compose_arrays(arrays, arrays)) == set(arrays)
    version = Recommender(arrays)
    assert version.stars is version.ranking


def test_heads_of_different_rows_are_rejected(bundles: dict[str, bytes]) -> None:
    """A head that was fitted on other users would answer for the wrong ones."""
    arrays = read_arrays(bundles["stack"])
    arrays["user_id"] = arrays["user_id"] + 1
    with pytest.raises(ValueError, match="the heads ease and stack differ in user_id: train both together"):
        compose_arrays(read_arrays(bundles["ease"]), arrays)


def test_an_order_of_more_rows_than_the_stars(bundles: dict[str, bytes], sample_rows: TrainingRows) -> None:
    """Users of both heads are served by their own factors, others are folded in; counts are those of the order."""
    order, stars = read_arrays(bundles["als"]), read_arrays(bundles["svd"])
    some = np.arange(0, len(stars["user_id"]), 3)
    fewer = {name: one[some] if name.startswith("user_") else one for name, one in stars.items()}
    fewer["rating_count"] = stars["rating_count"] // 3
    version, alone = Recommender(compose_arrays(order, fewer, own_rows=True)), Recommender(order)
    assert version.user_id.tolist() == fewer["user_id"].tolist()
    assert version.rating_count.tolist() == order["rating_count"].tolist()
    assert (version.training_users, alone.training_users) == (len(order["user_id"]),) * 2
    movies = version.movie_id[:50]
    for at, strategy in ((0, "personalised"), (1, "fold_in")):
        user = int(order["user_id"][at])
        history = build_history(sample_rows, user)
        answer = version.recommend(user, RecommendOptions(), history)
        assert answer.reason == strategy
        ratings = EMPTY_HISTORY if at == 0 else history
        expected = alone.recommend(user if at == 0 else None, RecommendOptions(), history, ratings)
        assert answer.movies.movie_id.tolist() == expected.movies.movie_id.tolist()
        assert version.predict(user, movies, history) == pytest.approx(
            Recommender(fewer).predict(user, movies, history)
        )
    fewer["movie_id"] = fewer["movie_id"] + 1
    with pytest.raises(ValueError, match="the heads als and svd differ in movie_id: train both together"):
        compose_arrays(order, fewer, own_rows=True)


def test_many_predictions_are_those_of_one_by_one(
    version: Recommender, sample_rows: TrainingRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All holdout pairs at once equal single predictions; unknown users are left to be folded in."""
    from accident_reco.models.movies.candidates import knn

    monkeypatch.setattr(knn, "TABLE_CELLS", 7 * len(version.movie_id))
    monkeypatch.setattr(knn, "RATINGS_AT_ONCE", 100)
    train = sample_rows.train
    rated = History(train.movie_id, train.rating, train.rated_at)
    some = sample_rows.holdout.take(np.arange(0, len(sample_rows.holdout), 7))
    together = version.predict_pairs(some.user_id, some.movie_id, train.user_id, rated)
    left = np.isnan(together)
    assert (left == ~np.isin(some.user_id, version.user_id) | ~np.isin(some.movie_id, version.movie_id)).all()
    assert np.isnan(version.predict_pairs(np.array([10**8]), some.movie_id[:1], train.user_id, rated)).all()
    for row in np.flatnonzero(~left)[:200].tolist():
        user = int(some.user_id[row])
        alone = version.predict(user, some.movie_id[row : row + 1], build_history(sample_rows, user))
        assert together[row] == pytest.approx(alone[0], abs=1e-6)


def test_folding_in_a_known_user_resembles_the_user(
    versions: dict[str, Recommender], sample_rows: TrainingRows
) -> None:
    """The same history through fold-in leads to nearly the list that training led to."""
    version = versions["als"]
    shared = []
    for user in np.unique(sample_rows.train.user_id)[:40].tolist():
        history = build_history(sample_rows, user)
        own = version.recommend(user, RecommendOptions(), history)
        folded = version.recommend(None, RecommendOptions(), request_ratings=history)
        shared.append(len(set(own.movies.movie_id.tolist()) & set(folded.movies.movie_id.tolist())))
    assert np.mean(shared) > 7


def test_newer_ratings_of_a_known_user_count_at_once(
    versions: dict[str, Recommender], sample_rows: TrainingRows
) -> None:
    """A user who rated after the training is folded in from the stored history, with a note."""
    user = int(sample_rows.train.user_id[0])
    answer = versions["als"].recommend(user, RecommendOptions(), build_history(sample_rows, user, newer=True))
    assert answer.reason == "fold_in"
    assert answer.note == "the user rated movies since this version was trained: folded in from the stored ratings"


def test_unknown_users_get_popular_movies(version: Recommender) -> None:
    """Unknown users, no user, and ratings of unknown movies: popular movies in their order, with a note."""
    for user, ratings, note in (
        (10**8, EMPTY_HISTORY, "the user is unknown"),
        (None, EMPTY_HISTORY, "no user and no ratings"),
        (None, History.from_ratings([2], [5.0]), "none of the rated movies is known"),
    ):
        answer = version.recommend(user, RecommendOptions(count=5), request_ratings=ratings)
        assert answer.reason == "popular"
        assert note in (answer.note or "")
        rated = version.rating_count > 0
        best = version.movie_id[rated][np.argsort(-version.popularity[rated], kind="stable")[:5]]
        assert answer.movies.movie_id.tolist() == best.tolist()


def test_genres_in_and_out(version: Recommender) -> None:
    """Any of the genres, none of the excluded ones; names in any case; an unknown one is reported."""
    answer = version.recommend(None, RecommendOptions(count=30, genres=["comedy", "War"], exclude_genres=["drama"]))
    assert len(answer.movies) > 0
    for names in answer.movies.genres:
        assert {"Comedy", "War"} & set(names)
        assert "Drama" not in names
    unknown = version.recommend(None, RecommendOptions(genres=["Komödie"]))
    assert len(unknown.movies) == 0
    assert unknown.note is not None
    assert unknown.note.startswith("no movie has the genre Komödie; genres are: Action, Adventure")
    partly = version.recommend(None, RecommendOptions(genres=["Komödie", "Comedy"]))
    assert len(partly.movies) > 0
    assert "Komödie" in (partly.note or "")


def test_everything_seen_is_an_honest_empty_list(version: Recommender) -> None:
    """No movie left is neither an error nor a repetition."""
    history = History.from_ratings(version.movie_id.tolist(), [4.0] * len(version.movie_id))
    answer = version.recommend(int(version.user_id[0]), RecommendOptions(), history)
    assert len(answer.movies) == 0
    assert answer.note == "every movie of this version was seen; include_seen returns them again"


def test_similar_movies(version: Recommender) -> None:
    """Similar movies, not the movie itself; an unknown id is an error."""
    movie = int(version.movie_id[version.rating_count.argmax()])
    answer = version.find_similar(movie, RecommendOptions(count=5))
    assert len(answer.movies) == 5
    assert movie not in set(answer.movies.movie_id.tolist())
    assert (answer.reason, answer.movies.reason) == ("similar", "similar")
    with pytest.raises(UnknownMovie, match="this version has no movie 2"):
        version.find_similar(2, RecommendOptions())


def test_movie_without_ratings(bundles: dict[str, bytes]) -> None:
    """Too few ratings to compare: the answer falls back to genres, with a note."""
    arrays = read_arrays(bundles["als"])
    row = int(np.flatnonzero(arrays["genre_bits"] > 0)[0])
    arrays["rating_count"][row] = 0
    arrays["movie_factors"][row] = 0
    version = Recommender(arrays)
    answer = version.find_similar(int(version.movie_id[row]), RecommendOptions(count=5))
    assert "same genres" in (answer.note or "")
    assert len(answer.movies) > 0
    assert all(set(names) & set(version.movies.list_genres(row)) for names in answer.movies.genres)


def test_diversity_makes_lists_less_similar(versions: dict[str, Recommender], sample_rows: TrainingRows) -> None:
    """The first movie stays; the following ones are less similar to each other."""
    version = versions["als"]
    user = int(sample_rows.train.user_id[0])
    history = build_history(sample_rows, user)

    def measure(diversity: float) -> tuple[int, float]:
        movies = version.recommend(user, RecommendOptions(diversity=diversity), history).movies
        table = version.compute_similarity(movies.row)
        return int(movies.movie_id[0]), float(table[np.triu_indices(len(movies), 1)].mean())

    (first, plain), (still, varied) = measure(0.0), measure(0.9)
    assert first == still
    assert varied < plain - 0.02


def test_because_names_liked_movies(versions: dict[str, Recommender], sample_rows: TrainingRows) -> None:
    """ "Because you rated": movies of the history, none below the user's own mean."""
    user = int(sample_rows.train.user_id[0])
    history = build_history(sample_rows, user)
    stars = dict(zip(history.movie_id.tolist(), history.rating.tolist(), strict=True))
    answer = versions["svd"].recommend(user, RecommendOptions(because=True), history)
    reasons = [because for whys in answer.movies.because for because in whys]
    assert reasons
    for reason in reasons:
        assert stars[reason.movie_id] == reason.rating >= history.rating.mean()


def test_empty_catalogue_answers() -> None:
    """An empty version returns an empty list with the reason."""
    nothing = {
        "kind": np.array("baseline"),
        "scale": np.array([0.5, 5, 0.5]),
        "movie_id": np.zeros(0, np.int64),
        "user_id": np.zeros(0, np.int64),
        "title_bytes": np.zeros(0, np.uint8),
        "title_end": np.zeros(0, np.int64),
        "year": np.zeros(0, np.int16),
        "genre_names": np.zeros(0, "U1"),
        "genre_bits": np.zeros(0, np.uint64),
        "rating_count": np.zeros(0, np.int32),
        "popularity": np.zeros(0, np.float32),
        "global_mean": np.array(3.5),
        "user_bias": np.zeros(0),
        "movie_bias": np.zeros(0),
    }
    answer = Recommender(nothing).recommend(1, RecommendOptions(), History.from_ratings([1], [5.0]))
    assert len(answer.movies) == 0
    assert "the catalogue is empty" in (answer.note or "")
    assert Recommender(nothing).movies.search("x", 5) == []


def test_unknown_kind_is_rejected(versions: dict[str, Recommender]) -> None:
    """A bundle of a later platform is rejected."""
    with pytest.raises(ValueError, match="bundle of kind 'transformer'"):
        Recommender({**_arrays(versions), "kind": np.array("transformer")})


def _arrays(versions: dict[str, Recommender]) -> dict[str, np.ndarray]:
    version = versions["baseline"]
    return {
        "scale": np.array([0.5, 5, 0.5]),
        "movie_id": version.movie_id,
        "user_id": version.user_id,
        "title_bytes": np.zeros(0, np.uint8),
        "title_end": np.zeros(len(version.movie_id), np.int64),
        "year": version.movies.years,
        "genre_names": np.array(version.movies.genre_names),
        "genre_bits": version.movies.genre_bits,
        "rating_count": version.rating_count,
        "popularity": version.popularity,
    }


def test_arrays_never_need_a_pickle() -> None:
    """Objects are rejected both ways; the same arrays are the same bytes."""
    arrays = {"a": np.arange(3), "b": np.array(2.5), "name": np.array("als")}
    assert write_arrays(arrays) == write_arrays(dict(reversed(arrays.items())))
    back = read_arrays(write_arrays(arrays))
    assert back["b"].shape == ()
    assert str(back["name"]) == "als"
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays({"bad": np.array([object()])})


def test_simulated_ratings(version: Recommender, sample_rows: TrainingRows) -> None:
    """The requested number, on the scale, of known and new users, of new pairs, never of the holdout; seeded."""
    users = np.unique(sample_rows.train.user_id)[:28].tolist()
    histories = {user: build_history(sample_rows, user) for user in users}

    def run(shift: float, seed: int = 1) -> dict[str, np.ndarray]:
        return simulate(version, histories, 800, seed=seed, shift=shift, now=1_790_000_000, holdout_share=0.2)

    plain = run(0.0)
    assert len(plain["rating"]) == 800
    assert len(np.unique(build_pair_keys(plain["user_id"], plain["movie_id"]))) == 800
    assert sample_rows.scale.contains(plain["rating"]).all()
    assert not pairs_in_holdout(plain["user_id"], plain["movie_id"], 0.2).any()
    assert (plain["user_id"] >= FIRST_NEW_USER).sum() > 100
    for user in users:
        assert not set(plain["movie_id"][plain["user_id"] == user].tolist()) & set(histories[user].movie_id.tolist())
    again, other, shifted = run(0.0), run(0.0, seed=2), run(1.0)
    assert all((again[name] == plain[name]).all() for name in plain)
    assert (other["movie_id"] != plain["movie_id"]).any()
    assert shifted["rating"].mean() < plain["rating"].mean() - 0.7


def test_a_server_needs_numpy_only() -> None:
    """Importing the recommender pulls neither pandas nor scipy nor a training library."""
    script = (
        "import sys, accident_reco.models.movies.scoring.recommender, accident_reco.models.movies.scoring.simulate; "
        "print(*sorted({'pandas', 'scipy', 'surprise', 'implicit', 'sklearn', 'dagster', 'mlflow'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_catalogue_and_ratings_must_fit(sample_rows: TrainingRows, options: TrainingOptions) -> None:
    """A model of movies that the catalogue lacks is rejected: both come from one source."""
    model = fitting.fit(
        CANDIDATES["baseline"], IndexedRatings.from_ratings(sample_rows.train), sample_rows.scale, options.fit
    )
    fewer = Catalogue.from_rows([(1, "X", "Drama")])
    with pytest.raises(ValueError, match="materialize both from one source"):
        build_arrays(model, fewer, Ratings.from_columns([], [], [], []), sample_rows.scale, options.popularity)
