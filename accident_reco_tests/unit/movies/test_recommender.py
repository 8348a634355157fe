"""What the recommender answers, for everybody it may meet, with numpy alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from accident_reco.lifecycle.holdout import pairs_in_holdout
from accident_reco.models.movies.data.history import NOTHING, History
from accident_reco.models.movies.data.ratings import Catalogue, Ratings, pair_keys
from accident_reco.models.movies.scoring import rerank
from accident_reco.models.movies.scoring.arrays import bundle_arrays
from accident_reco.models.movies.scoring.lookup import UnknownMovie
from accident_reco.models.movies.scoring.packing import FILE, read_arrays, write_arrays
from accident_reco.models.movies.scoring.recommender import Recommender, RecommendOptions
from accident_reco.models.movies.scoring.simulate import FIRST_NEW_USER, simulate
from accident_reco.models.movies.training import fitting
from accident_reco.models.movies.training.candidates import Options, Rows
from accident_reco.models.movies.training.trainset import IndexedRatings


@pytest.fixture(scope="module")
def bundles(sample_rows: Rows, options: Options) -> dict[str, bytes]:
    """The arrays of one version of each kind, as a bundle holds them."""
    made = {}
    for kind in fitting.KINDS:
        model = fitting.fit(kind, IndexedRatings.of(sample_rows.train), sample_rows.scale, options.model)
        arrays = bundle_arrays(model, sample_rows.catalogue, sample_rows.train, sample_rows.scale, options.popularity)
        made[kind] = write_arrays(arrays)
    return made


@pytest.fixture(scope="module")
def versions(bundles: dict[str, bytes]) -> dict[str, Recommender]:
    """One version of each kind."""
    return {kind: Recommender.from_files({FILE: content}) for kind, content in bundles.items()}


def history_of(rows: Rows, user: int, newer: bool = False) -> History:
    mine = rows.train.take(rows.train.user_id == user)
    return History(mine.movie_id, mine.rating, mine.rated_at, newer)


@pytest.fixture(params=fitting.KINDS)
def version(versions: dict[str, Recommender], request: pytest.FixtureRequest) -> Recommender:
    return versions[request.param]


def test_known_user_sees_nothing_twice(version: Recommender, sample_rows: Rows) -> None:
    """Seen movies are left out unless they are asked for; the list is ordered; stars lie on the scale."""
    user = int(sample_rows.train.user_id[0])
    history = history_of(sample_rows, user)
    answer = version.recommend(user, RecommendOptions(count=20), history)
    assert (answer.reason, answer.note, len(answer.picks)) == ("personalised", None, 20)
    assert not {pick.movie_id for pick in answer.picks} & set(history.movie_id.tolist())
    scores = [pick.score for pick in answer.picks]
    assert scores == sorted(scores, reverse=True)
    assert all(0.5 <= pick.predicted_rating <= 5 for pick in answer.picks)
    everything = version.recommend(user, RecommendOptions(count=100, include_seen=True), history)
    assert {pick.movie_id for pick in everything.picks} & set(history.movie_id.tolist())


def test_one_rating_is_enough(version: Recommender) -> None:
    """Fold-in without a stored user, from one rating on; the rated movie is not recommended."""
    rated = int(version.movie_id[version.rating_count.argmax()])
    answer = version.recommend(None, RecommendOptions(because=True), given=History.of([rated], [5.0]))
    assert answer.reason == "fold_in"
    assert len(answer.picks) == 10
    assert rated not in {pick.movie_id for pick in answer.picks}


def test_ratings_beyond_the_newest_are_not_called_unknown(version: Recommender) -> None:
    """Folding in looks at the newest 500; what it does not look at is known all the same."""
    many = np.tile(version.movie_id[version.rating_count > 0], 3)[:600]
    answer = version.recommend(
        None, RecommendOptions(include_seen=True), given=History.of(many.tolist(), [4.0] * len(many))
    )
    assert (answer.reason, answer.note) == ("fold_in", None)


def test_the_best_are_found_without_scoring_everything(
    versions: dict[str, Recommender], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search that ends early gives what the whole ranking gives, whoever asks and whatever is left out."""
    from accident_reco.models.movies.scoring.scorers import factors

    monkeypatch.setattr(factors, "BLOCK", 16)
    head, random = versions["als"].head, np.random.default_rng(5)
    for user in random.integers(0, len(versions["als"].user_id), 60).tolist():
        taste = head.stored(user, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        allowed = random.random(len(versions["als"].movie_id)) < random.choice([0.02, 0.5, 1.0])
        rows, score = head.best(taste, allowed, 10)
        expected, by_all = rerank.best(head.ranking(taste), allowed, 10)
        assert rows.tolist() == expected.tolist()
        assert score == pytest.approx(by_all, abs=1e-6)


def test_many_predictions_are_those_of_one_by_one(
    version: Recommender, sample_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All holdout pairs at once give what each user alone gets; whoever is unknown is left to be folded in."""
    from accident_reco.models.movies.scoring.scorers import neighbours

    monkeypatch.setattr(neighbours, "TABLE_CELLS", 7 * len(version.movie_id))
    monkeypatch.setattr(neighbours, "RATINGS_AT_ONCE", 100)
    train = sample_rows.train
    rated = History(train.movie_id, train.rating, train.rated_at)
    some = sample_rows.holdout.take(np.arange(0, len(sample_rows.holdout), 7))
    together = version.predict_pairs(some.user_id, some.movie_id, train.user_id, rated)
    left = np.isnan(together)
    assert (left == ~np.isin(some.user_id, version.user_id) | ~np.isin(some.movie_id, version.movie_id)).all()
    assert np.isnan(version.predict_pairs(np.array([10**8]), some.movie_id[:1], train.user_id, rated)).all()
    for row in np.flatnonzero(~left)[:200].tolist():
        user = int(some.user_id[row])
        alone = version.predict(user, some.movie_id[row : row + 1], history_of(sample_rows, user))
        assert together[row] == pytest.approx(alone[0], abs=1e-6)


def test_folding_in_a_known_user_resembles_the_user(versions: dict[str, Recommender], sample_rows: Rows) -> None:
    """The same history through fold-in leads to nearly the list that training led to."""
    version = versions["als"]
    shared = []
    for user in np.unique(sample_rows.train.user_id)[:40].tolist():
        history = history_of(sample_rows, user)
        own = version.recommend(user, RecommendOptions(), history)
        folded = version.recommend(None, RecommendOptions(), given=history)
        shared.append(len({p.movie_id for p in own.picks} & {p.movie_id for p in folded.picks}))
    assert np.mean(shared) > 7


def test_newer_ratings_of_a_known_user_count_at_once(versions: dict[str, Recommender], sample_rows: Rows) -> None:
    """A user who rated after the training is folded in from the stored history, and the answer says so."""
    user = int(sample_rows.train.user_id[0])
    answer = versions["als"].recommend(user, RecommendOptions(), history_of(sample_rows, user, newer=True))
    assert answer.reason == "fold_in"
    assert answer.note == "the user rated movies since this version was trained: folded in from the stored ratings"


def test_strangers_get_what_is_popular(version: Recommender) -> None:
    """Unknown users, nobody at all, and ratings of unknown movies: popular, in the order of popularity, and said."""
    for user, given, said in (
        (10**8, NOTHING, "the user is unknown"),
        (None, NOTHING, "no user and no ratings"),
        (None, History.of([2], [5.0]), "none of the rated movies is known"),
    ):
        answer = version.recommend(user, RecommendOptions(count=5), given=given)
        assert answer.reason == "popular"
        assert said in (answer.note or "")
        rated = version.rating_count > 0
        best = version.movie_id[rated][np.argsort(-version.popularity[rated], kind="stable")[:5]]
        assert [pick.movie_id for pick in answer.picks] == best.tolist()


def test_genres_in_and_out(version: Recommender) -> None:
    """Any of the genres, none of the excluded ones; names in any case; an unknown one is told."""
    answer = version.recommend(None, RecommendOptions(count=30, genres=["comedy", "War"], exclude_genres=["drama"]))
    assert answer.picks
    for pick in answer.picks:
        assert {"Comedy", "War"} & set(pick.genres)
        assert "Drama" not in pick.genres
    unknown = version.recommend(None, RecommendOptions(genres=["Komödie"]))
    assert unknown.picks == []
    assert unknown.note is not None
    assert unknown.note.startswith("no movie has the genre Komödie; genres are: Action, Adventure")
    partly = version.recommend(None, RecommendOptions(genres=["Komödie", "Comedy"]))
    assert partly.picks
    assert "Komödie" in (partly.note or "")


def test_everything_seen_is_an_honest_empty_list(version: Recommender) -> None:
    """Nothing left is not an error, and not a repetition."""
    history = History.of(version.movie_id.tolist(), [4.0] * len(version.movie_id))
    answer = version.recommend(int(version.user_id[0]), RecommendOptions(), history)
    assert answer.picks == []
    assert answer.note == "every movie of this version was seen; include_seen gives them again"


def test_similar_movies(version: Recommender) -> None:
    """Like the movie, not the movie itself; an unknown id is an error, an unrated movie is answered by genre."""
    movie = int(version.movie_id[version.rating_count.argmax()])
    answer = version.similar(movie, RecommendOptions(count=5))
    assert len(answer.picks) == 5
    assert movie not in {pick.movie_id for pick in answer.picks}
    assert {pick.reason for pick in answer.picks} == {"similar"}
    with pytest.raises(UnknownMovie, match="this version has no movie 2"):
        version.similar(2, RecommendOptions())


def test_movie_that_nobody_rated(bundles: dict[str, bytes]) -> None:
    """Too few ratings to compare tastes: the answer falls back to genres and says so; it is never recommended."""
    arrays = read_arrays(bundles["als"])
    row = int(np.flatnonzero(arrays["genre_bits"] > 0)[0])
    arrays["rating_count"][row] = 0
    arrays["movie_factors"][row] = 0
    version = Recommender(arrays)
    answer = version.similar(int(version.movie_id[row]), RecommendOptions(count=5))
    assert "same genres" in (answer.note or "")
    assert all(set(pick.genres) & set(version.movies.genres_of(row)) for pick in answer.picks)


def test_diversity_makes_lists_less_alike(versions: dict[str, Recommender], sample_rows: Rows) -> None:
    """The first pick stays; what follows resembles each other less."""
    version = versions["als"]
    user = int(sample_rows.train.user_id[0])
    history = history_of(sample_rows, user)

    def likeness(diversity: float) -> tuple[int, float]:
        picks = version.recommend(user, RecommendOptions(diversity=diversity), history).picks
        rows = np.searchsorted(version.movie_id, [pick.movie_id for pick in picks])
        table = version._alike(rows)
        return picks[0].movie_id, float(table[np.triu_indices(len(rows), 1)].mean())

    (first, plain), (still, varied) = likeness(0.0), likeness(0.9)
    assert first == still
    assert varied < plain - 0.02


def test_because_names_liked_movies(versions: dict[str, Recommender], sample_rows: Rows) -> None:
    """ "Because you rated": movies of the history, none below the person's own average."""
    user = int(sample_rows.train.user_id[0])
    history = history_of(sample_rows, user)
    stars = dict(zip(history.movie_id.tolist(), history.rating.tolist(), strict=True))
    answer = versions["svd"].recommend(user, RecommendOptions(because=True), history)
    reasons = [reason for pick in answer.picks for reason in pick.because]
    assert reasons
    for reason in reasons:
        assert stars[reason["movie_id"]] == reason["rating"] >= history.rating.mean()


def test_empty_catalogue_answers() -> None:
    """A version of nothing answers with nothing, and why."""
    nothing = {
        "kind": np.array("baseline"), "scale": np.array([0.5, 5, 0.5]), "movie_id": np.zeros(0, np.int64),
        "user_id": np.zeros(0, np.int64), "title_bytes": np.zeros(0, np.uint8), "title_end": np.zeros(0, np.int64),
        "year": np.zeros(0, np.int16), "genre_names": np.zeros(0, "U1"), "genre_bits": np.zeros(0, np.uint64),
        "rating_count": np.zeros(0, np.int32), "popularity": np.zeros(0, np.float32), "global_mean": np.array(3.5),
        "user_bias": np.zeros(0), "movie_bias": np.zeros(0),
    }  # fmt: skip
    answer = Recommender(nothing).recommend(1, RecommendOptions(), History.of([1], [5.0]))
    assert answer.picks == []
    assert "the catalogue is empty" in (answer.note or "")
    assert Recommender(nothing).movies.search("x", 5) == []


def test_unknown_kind_is_refused(versions: dict[str, Recommender]) -> None:
    """A bundle of a later platform must not be half understood."""
    with pytest.raises(ValueError, match="bundle of kind 'transformer'"):
        Recommender({**_arrays(versions), "kind": np.array("transformer")})


def _arrays(versions: dict[str, Recommender]) -> dict[str, np.ndarray]:
    version = versions["baseline"]
    return {
        "scale": np.array([0.5, 5, 0.5]), "movie_id": version.movie_id, "user_id": version.user_id,
        "title_bytes": np.zeros(0, np.uint8), "title_end": np.zeros(len(version.movie_id), np.int64),
        "year": version.movies.years, "genre_names": np.array(version.movies.genre_names),
        "genre_bits": version.movies.genre_bits,
        "rating_count": version.rating_count, "popularity": version.popularity,
    }  # fmt: skip


def test_arrays_never_need_a_pickle() -> None:
    """Objects are refused both ways; the same arrays are the same bytes."""
    arrays = {"a": np.arange(3), "b": np.array(2.5), "name": np.array("als")}
    assert write_arrays(arrays) == write_arrays(dict(reversed(arrays.items())))
    back = read_arrays(write_arrays(arrays))
    assert back["b"].shape == ()
    assert str(back["name"]) == "als"
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays({"bad": np.array([object()])})


def test_made_up_ratings(version: Recommender, sample_rows: Rows) -> None:
    """As many as asked, on the scale, of known and new people, never seen before, never of the holdout; seeded."""
    users = np.unique(sample_rows.train.user_id)[:28].tolist()
    histories = {user: history_of(sample_rows, user) for user in users}

    def make(shift: float, seed: int = 1) -> dict[str, np.ndarray]:
        return simulate(version, histories, 800, seed=seed, shift=shift, now=1_790_000_000, holdout_share=0.2)

    plain = make(0.0)
    assert len(plain["rating"]) == 800
    assert len(np.unique(pair_keys(plain["user_id"], plain["movie_id"]))) == 800
    assert sample_rows.scale.holds(plain["rating"]).all()
    assert not pairs_in_holdout(plain["user_id"], plain["movie_id"], 0.2).any()
    assert (plain["user_id"] >= FIRST_NEW_USER).sum() > 100
    for user in users:
        assert not set(plain["movie_id"][plain["user_id"] == user].tolist()) & set(histories[user].movie_id.tolist())
    again, other, shifted = make(0.0), make(0.0, seed=2), make(1.0)
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


def test_catalogue_and_ratings_must_fit(sample_rows: Rows, options: Options) -> None:
    """A model of movies that the catalogue lacks is refused: both come from one source."""
    model = fitting.fit("baseline", IndexedRatings.of(sample_rows.train), sample_rows.scale, options.model)
    fewer = Catalogue.of([1], ["X"], ["Drama"])
    with pytest.raises(ValueError, match="materialize both from one source"):
        bundle_arrays(model, fewer, Ratings.of([], [], [], []), sample_rows.scale, options.popularity)
