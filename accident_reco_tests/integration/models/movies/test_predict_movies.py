"""The movie endpoints over real HTTP: every kind of user, new ratings, simulated ratings, training requests."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from accident_reco.lifecycle.holdout import pairs_in_holdout
from accident_reco.models.movies.candidates.als import AlsOptions
from accident_reco.models.movies.candidates.candidate import FitOptions
from accident_reco.models.movies.data import queries
from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.formats import RatingReader
from accident_reco.models.movies.data.ingest import SourceFile, import_files
from accident_reco.models.movies.data.quarantine import RatingRules
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.data.sample import SampleSpec, generate_movies_csv, generate_ratings_csv
from accident_reco.models.movies.data.split import SplitOptions, split
from accident_reco.models.movies.serving.feedback import check_scale
from accident_reco.models.movies.training import candidate_training
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco.storage.tables.prediction_log import predictions
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import advance_request
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.movie_ratings import read_table
from accident_reco_tests.support.toy import promote
from serving.predict.app import create_app

URL = "/predict/movies"
NOW = 1_790_000_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose warehouse holds a sample, and a promoted ALS version of it."""
    home = tmp_path_factory.mktemp("movies")
    settings = Settings.load(home=home)
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    spec = SampleSpec(ratings=8_000, seed=6)
    ratings, movies = b"".join(generate_ratings_csv(spec)), generate_movies_csv(spec)
    files = (
        SourceFile("ratings.csv", "r", lambda: io.BytesIO(ratings)),
        SourceFile("movies.csv", "m", lambda: io.BytesIO(movies)),
    )
    import_files(warehouse, open_store(settings.store), *files, "sample", NOW)
    warehouse.close()
    catalogue = read_movies(movies, "movies.csv")
    reader = RatingReader(io.BytesIO(ratings), "ratings.csv")
    rules = RatingRules(reader.scale, catalogue.movie_id, NOW)
    kept = Ratings.concatenate([rules.partition_valid(chunk)[0] for chunk in reader])
    parts = split(kept, np.zeros(len(kept), dtype=bool), SplitOptions())
    rows = candidate_training.TrainingRows(parts.train, parts.holdout, catalogue, reader.scale)
    options = candidate_training.TrainingOptions(FitOptions(hyperparameters=(AlsOptions(16, 5),)))
    lineage = {"data_source": "sample", "ratings_received_until": 0}
    promote(home, candidate_training.train_candidate("als", rows, options, lineage).bundle)
    return home


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[httpx.Client]:
    with live(create_app(Settings.load(home=home, auth_required=False))) as client:
        wait_for(lambda: client.get("/models/movies").json().get("champion"))
        yield client


@pytest.fixture
def warehouse(home: Path) -> Iterator[Warehouse]:
    warehouse = Warehouse(Settings.load(home=home).database)
    yield warehouse
    warehouse.close()


def recommend(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post(URL, json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_known_user(client: httpx.Client, warehouse: Warehouse) -> None:
    """From the model, with the fields of the contract; no movie of the stored history."""
    answer = recommend(client, user_id=1, count=15)
    assert (answer["reason"], answer["note"], answer["user_id"]) == ("personalised", None, 1)
    assert (answer["model"], answer["data_source"], len(answer["version"])) == ("movies", "sample", 16)
    seen = set(queries.read_user_histories(warehouse, [1], newer_than=0)[1]["movie_id"].tolist())
    shown = [movie["movie_id"] for movie in answer["movies"]]
    assert len(shown) == 15
    assert not seen & set(shown)
    assert set(answer["movies"][0]) == {"movie_id", "title", "genres", "score", "predicted_rating", "reason"}


def test_ratings_of_the_request(client: httpx.Client) -> None:
    """One rating is enough; reasons name it; a movie rated twice counts once."""
    answer = recommend(
        client, ratings=[{"movie_id": 4, "rating": 1}, {"movie_id": 4, "rating": 5}], because=True, count=3
    )
    assert answer["reason"] == "fold_in"
    assert 4 not in [movie["movie_id"] for movie in answer["movies"]]
    assert {because["rating"] for movie in answer["movies"] for because in movie["because"]} <= {5.0}


def test_unknown_users_and_genres(client: httpx.Client) -> None:
    """No user: popular movies, by genre if requested; an unknown genre gives an empty list."""
    answer = recommend(client, count=4, genres=["comedy"], exclude_genres=["Drama"])
    assert answer["reason"] == "popular"
    assert all("Comedy" in movie["genres"] and "Drama" not in movie["genres"] for movie in answer["movies"])
    assert recommend(client, user_id=2_000_000)["note"] == "the user is unknown: popular movies"
    assert recommend(client, genres=["Nothing"])["movies"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"count": 0}, "body/count"),
        ({"count": 101}, "body/count"),
        ({"user_id": "1"}, "body/user_id"),
        ({"user_id": -1}, "body/user_id"),
        ({"user_id": 2**40}, "body/user_id"),
        ({"ratings": []}, "body/ratings"),
        ({"ratings": [{"movie_id": 1, "rating": 5.5}]}, "body/ratings/0/rating"),
        ({"ratings": [{"movie_id": 1, "rating": 3.3}]}, "body/ratings/0/rating"),
        ({"diversity": 2}, "body/diversity"),
        ({"genre": ["Drama"]}, "body/genre"),
        ({"user_id": 1, "ratings": [{"movie_id": 1, "rating": 5}]}, "body"),
    ],
)
def test_wrong_requests(client: httpx.Client, body: dict[str, Any], pointer: str) -> None:
    """Each wrong field is named; nothing is guessed."""
    response = client.post(URL, json=body)
    assert response.status_code == 422
    assert pointer in [error["pointer"] for error in response.json()["errors"]]


def test_batch_is_what_single_calls_are(client: httpx.Client) -> None:
    """Answers in the order of the requests, each as in a single call."""
    requests = [{"user_id": 3, "count": 5}, {"count": 2}, {"ratings": [{"movie_id": 4, "rating": 5}], "count": 5}]
    answers = client.post(f"{URL}/batch", json={"requests": requests}).json()["answers"]
    for one, together in zip(requests, answers, strict=True):
        assert recommend(client, **one)["movies"] == together["movies"]
    assert client.post(f"{URL}/batch", json={"requests": [{}] * 101}).status_code == 422


def test_search_and_similar(client: httpx.Client) -> None:
    """From a title to its id to movies like it; an unknown id is a 404 with the fix."""
    found = client.get("/movies", params={"query": "golden", "count": 3}).json()["movies"]
    assert found
    assert all("golden" in movie["title"].lower() for movie in found)
    answer = client.get(f"/movies/{found[0]['movie_id']}/similar", params={"count": 4}).json()
    assert answer["title"] == found[0]["title"]
    assert len(answer["movies"]) == 4
    assert {movie["reason"] for movie in answer["movies"]} == {"similar"}
    missing = client.get("/movies/5/similar")
    assert missing.status_code == 404
    assert "GET /movies?query" in missing.json()["detail"]


def test_movies_by_id_and_genres(client: httpx.Client) -> None:
    """Ids keep their order, unknown ones are left out; every genre of a movie is in the list of genres."""
    first, second = (movie["movie_id"] for movie in recommend(client, count=2)["movies"])
    found = client.get("/movies", params={"movie_id": [second, 999_999, first]}).json()["movies"]
    assert [movie["movie_id"] for movie in found] == [second, first]
    genres = client.get("/movies/genres").json()["genres"]
    assert genres == sorted(genres)
    assert {genre for movie in found for genre in movie["genres"]} <= set(genres)
    counts = [movie["ratings"] for movie in client.get("/movies", params={"count": 5}).json()["movies"]]
    assert len(counts) == 5
    assert counts == sorted(counts, reverse=True)
    titled = {"query": found[0]["title"], "movie_id": [second, first]}
    assert [movie["movie_id"] for movie in client.get("/movies", params=titled).json()["movies"]] == [second]
    assert client.get("/movies", params={"count": 0}).status_code == 422


def test_ratings_of_a_stored_user(client: httpx.Client, warehouse: Warehouse) -> None:
    """Newest first, with titles; the number is of all of them; an unknown user has none."""
    answer = client.get("/movies/users/1/ratings", params={"count": 3}).json()
    history = queries.read_user_histories(warehouse, [1], newer_than=0)[1]
    assert answer["number"] == len(history["movie_id"]) > 3
    times = [row["rated_at"] for row in answer["ratings"]]
    assert times == sorted(history["rated_at"].tolist(), reverse=True)[:3]
    first = answer["ratings"][0]
    known = client.get("/movies", params={"movie_id": first["movie_id"]}).json()["movies"][0]
    assert (first["title"], first["genres"], first["simulated"]) == (known["title"], known["genres"], False)
    assert client.get("/movies/users/2000000000/ratings").json()["ratings"] == []


def test_new_ratings_count_at_once_and_only_once(client: httpx.Client) -> None:
    """A new user is folded in; the same ratings again change nothing."""
    user, body = 5_000_001, {"ratings": [{"user_id": 5_000_001, "movie_id": 4, "rating": 4.5}]}
    assert recommend(client, user_id=user)["reason"] == "popular"
    first = client.post("/feedback/movies", json=body).json()
    assert (first["inserted"], first["new_users"], first["simulated"]) == (1, 1, False)
    assert client.post("/feedback/movies", json=body).json()["unchanged"] == 1
    answer = recommend(client, user_id=user)
    assert answer["reason"] == "fold_in"
    assert 4 not in [movie["movie_id"] for movie in answer["movies"]]


def test_known_user_with_a_newer_rating_is_folded_in(client: httpx.Client) -> None:
    """Ratings after the training are used before the next one."""
    assert recommend(client, user_id=7)["reason"] == "personalised"
    shown = recommend(client, user_id=7)["movies"][0]["movie_id"]
    body = {"ratings": [{"user_id": 7, "movie_id": shown, "rating": 0.5}]}
    assert client.post("/feedback/movies", json=body).json()["inserted"] == 1
    answer = recommend(client, user_id=7)
    assert answer["reason"] == "fold_in"
    assert shown not in [movie["movie_id"] for movie in answer["movies"]]


def test_wrong_ratings_write_nothing(client: httpx.Client, warehouse: Warehouse) -> None:
    """An unknown movie, a time in the future, a repeated pair: all are reported, none of the others is written."""
    rows = [
        {"user_id": 6_000_000, "movie_id": 4, "rating": 4},
        {"user_id": 6_000_000, "movie_id": 5, "rating": 4},
        {"user_id": 6_000_000, "movie_id": 7, "rating": 4, "rated_at": 4_000_000_000},
        {"user_id": 6_000_000, "movie_id": 4, "rating": 2},
    ]
    response = client.post("/feedback/movies", json={"ratings": rows})
    assert response.status_code == 422
    assert {(e["pointer"], e["code"]) for e in response.json()["errors"]} == {
        ("body/ratings/1/movie_id", "unknown_movie"),
        ("body/ratings/2/rated_at", "in_the_future"),
        ("body/ratings/3", "twice"),
    }
    assert queries.select_existing_users(warehouse, [6_000_000]) == set()


@pytest.mark.parametrize(
    ("scale", "good", "bad"), [((1, 5, 1), (1, 3, 5), (0.5, 3.5)), ((0.5, 5, 0.5), (0.5, 3.5, 5), ())]
)
def test_stars_of_another_scale_are_rejected(
    scale: tuple[float, float, float], good: tuple[float, ...], bad: tuple[float, ...]
) -> None:
    """The older sets have whole stars: their import rejects half stars, and so does feedback."""
    version: Any = SimpleNamespace(**dict(zip(("low", "high", "step"), scale, strict=True)))
    assert [check_scale(version, rating) for rating in good] == [None] * len(good)
    assert all("1 to 5 in steps of 1" in str(check_scale(version, rating)) for rating in bad)


def test_generated_ratings(client: httpx.Client, warehouse: Warehouse) -> None:
    """The answer counts the written rows: simulated, outside of the holdout; the same seed writes nothing new."""
    before = read_table(warehouse)
    answer = client.post("/generate-ratings", json={"count": 300, "seed": 11}).json()
    after = read_table(warehouse)
    assert answer["simulated"] is True
    assert answer["inserted"] == len(after["rating"]) - len(before["rating"]) == int(after["simulated"].sum())
    assert answer["new_users"] > 0
    simulated = after["simulated"]
    assert not pairs_in_holdout(after["user_id"][simulated], after["movie_id"][simulated], 0.2).any()
    again = client.post("/generate-ratings", json={"count": 300, "seed": 11}).json()
    assert (again["inserted"], again["unchanged"]) == (0, answer["received"])
    shifted = client.post("/generate-ratings", json={"count": 300, "seed": 12, "shift": 1}).json()
    assert shifted["inserted"] > 0
    later = read_table(warehouse)
    plain = float(after["rating"][simulated].mean())
    newest = float(later["rating"][later["simulated"]].sum() - after["rating"][simulated].sum())
    assert newest / shifted["inserted"] < plain - 0.5


def test_answers_are_logged(client: httpx.Client, warehouse: Warehouse) -> None:
    """The log has the request and the recommended movies."""
    answer = recommend(client, user_id=9, count=3)

    def row() -> Any:
        with warehouse.connect() as connection:
            return connection.execute(select(predictions).where(predictions.c.id == answer["prediction_id"])).first()

    wait_for(row)
    assert row().inputs == {"user_id": 9, "count": 3}
    assert row().answer == {"reason": "personalised", "movies": [movie["movie_id"] for movie in answer["movies"]]}


def test_training_request_is_durable(client: httpx.Client, home: Path, warehouse: Warehouse) -> None:
    """202 with a place to look; the same key returns the same request, in any process, with its outcome."""
    requested = client.post("/training/movies", params={"reason": "new season"}, headers={"Idempotency-Key": "k1"})
    assert requested.status_code == 202
    assert requested.json()["status"] == "queued"
    again = client.post("/training/movies", headers={"Idempotency-Key": "k1"}).json()
    assert again["id"] == requested.json()["id"]
    assert (requested.json()["new"], again["new"]) == (True, False)
    where = requested.headers["location"]
    with live(create_app(Settings.load(home=home, auth_required=False)), ready=False) as other:
        wait_for(lambda: other.get("/livez").status_code == 200)
        assert other.get(where).json()["reason"] == "new season"
    advance_request(warehouse, requested.json()["id"], "refused", run_id="r1", outcome="gain below 0.002")
    answer = client.get(where).json()
    assert (answer["status"], answer["outcome"], answer["run_id"]) == ("refused", "gain below 0.002", "r1")
    first, second = (client.post("/training/movies", params={"reason": reason}).json() for reason in ("one", "two"))
    assert (first["new"], second["new"], second["id"], second["reason"]) == (True, False, first["id"], "one")
    assert client.post("/training/nothing").status_code == 404
    assert client.get("/training/requests/nothing").status_code == 404


def test_warehouse_away(tmp_path: Path, home: Path) -> None:
    """Known users still get recommendations, with a note that movies seen may be among these."""
    database_url = f"sqlite:///{tmp_path / 'empty.db'}"
    settings = Settings.load(home=home, auth_required=False, database_url=database_url, log_predictions=False)
    with live(create_app(settings)) as client:
        wait_for(lambda: client.get("/models/movies").json().get("champion"))
        answer = recommend(client, user_id=1)
        assert answer["reason"] == "personalised"
        assert answer["note"].startswith("the stored ratings are not available now")
        assert len(answer["movies"]) == 10


def test_no_champion_yet(tmp_path: Path) -> None:
    """503 with the reason, before the first promotion."""
    with live(create_app(Settings.load(home=tmp_path, auth_required=False)), ready=False) as client:
        wait_for(lambda: client.get("/livez").status_code == 200)
        response = client.post(URL, json={})
        assert response.status_code == 503
        assert response.json()["type"].endswith("no-champion")
