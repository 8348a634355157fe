"""Editions of rating sets that are not GroupLens's own: headers, times, ids and genres as people publish them."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accident_reco.models.movies.data import imports, queries
from accident_reco.models.movies.data.catalogues import parse_genres, read_movies
from accident_reco.models.movies.data.formats import RatingReader, UnknownFormat
from accident_reco.models.movies.data.ingest import SourceFile, import_files
from accident_reco.models.movies.data.published_ids import PublishedIds
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.movie_ratings import open_store_beside
from accident_reco_tests.unit.models.movies.conftest import NOW

AT = 1_112_486_027
"""2005-04-02 23:53:47 UTC"""


def _read(content: bytes, file: str = "ratings.csv") -> tuple[list[tuple[float, ...]], RatingReader]:
    reader = RatingReader(io.BytesIO(content), file)
    rows = [
        tuple(row)
        for chunk in reader
        for row in zip(
            chunk.user_id.tolist(), chunk.movie_id.tolist(), chunk.rating.tolist(), chunk.rated_at.tolist(), strict=True
        )
    ]
    return rows, reader


@pytest.mark.parametrize(
    "content",
    [
        b'"userId","movieId","rating","timestamp"\n1,2,3.5,"2005-04-02 23:53:47"\n',
        b"userId,movieId,rating,timestamp\n1,2,3.5,2005-04-02T23:53:47Z\n",
        b"userId,movieId,rating,timestamp\n1,2,3.5,2005-04-03 01:53:47+02:00\n",
        b"userId,movieId,rating,timestamp\n1,2,3.5,2005-04-02 23:53:47.000 UTC\n",
        b"userId,movieId,rating,timestamp\n1.0,2.0,3.5,1112486027.0\n",
        b",userId,movieId,rating,timestamp\n0,1,2,3.5,1112486027\n",
        b"user_id;item_id;rating;timestamp\n1;2;3,5;1112486027\n",
        b"Timestamp\tStars\tMovie ID\tUser ID\n1112486027\t3.5\t2\t1\n",
        b"CustomerID,MovieID,Rating,Date\n1,2,3.5,2005-04-02 23:53:47\n",
        b"reviewerID,asin,overall,unixReviewTime\n1,2,3.5,1112486027\n",
        b"\xef\xbb\xbfuserId,movieId,rating,timestamp\r\n1,2,3.5,1112486027\r\n",
        b"1,2,3.5,1112486027\n",
        b"1::2::3.5::1112486027\n",
    ],
)
def test_one_rating_in_every_edition(content: bytes) -> None:
    """The same user, movie, stars and time."""
    rows, _ = _read(content)
    assert rows == [(1, 2, 3.5, AT)]


def test_dates_without_a_time_and_mixed_times() -> None:
    """Dates are midnight UTC; a file may have both; what is neither is refused with its text."""
    lines = ["2005-09-06", "1112486027", "2005-04-02 23:53:47", "2005-13-45", "yesterday", "1,11E+09", ""]
    content = "user,movie,rating,date\n" + "".join(f'1,{n},3,"{line}"\n' for n, line in enumerate(lines, 1))
    rows, _ = _read(content.replace('"1,11E+09"', "1.11E+09").encode())
    assert [row[3] for row in rows] == [1_125_964_800, AT, AT, -1, -1, -1, -1]


def test_file_without_times() -> None:
    """Every rating has the earliest time that is allowed, and the import notes it."""
    rows, reader = _read(b"userId,movieId,rating\n1,2,3.5\n")
    assert rows == [(1, 2, 3.5, 694_224_000)]
    assert reader.notes == ["ratings.csv has no column timestamp: every rating is dated 1992-01-01"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"userId,title,rating,timestamp\n",
            "ratings.csv line 1: no column movieId (found: userId, title, rating,",
        ),
        (
            b"userId,movieId,timestamp\n",
            "ratings.csv line 1: no column rating (found: userId, movieId, timest",
        ),
        (b"1:\n1488844,3,2005-09-06\n", "ratings.csv: first line '1:' is neither the header userId,movieId,rating,tim"),
    ],
)
def test_headers_that_lack_a_column(content: bytes, message: str) -> None:
    """The missing column, and those that were found."""
    with pytest.raises(UnknownFormat, match=re.escape(message)):
        RatingReader(io.BytesIO(content), "ratings.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"movieId,title,genres\n10,Caf\xc3\xa9 (1995),Action|Drama\n",
        b"movieId,title,genre\n10,Caf\xc3\xa9 (1995),Action|Drama\n",
        b"movieId,title,Genres\n10,Caf\xe9 (1995),Action|Drama\n",
        "movieId,title,genres\n10,Café (1995),Action|Drama\n".encode("utf-16"),
        b"MovieID;Title;Genres\n10;Caf\xc3\xa9 (1995);Action|Drama\n",
        b",movie_id,title,genres,tmdbId\n0,10.0,Caf\xc3\xa9 (1995),Action|Drama,862\n",
        b"movieId,title,genres\n10,Caf\xc3\xa9 (1995),\"['Action', 'Drama']\"\n",
        b'movieId,title,genres\n10,Caf\xc3\xa9 (1995),"[""Action"", ""Drama""]"\n',
        b"id,title,genres\n10,Caf\xc3\xa9 (1995),\"[{'id': 28, 'name': 'Action'}, {'id': 18, 'name': 'Drama'}]\"\n",
        b'movieId,title,genres\n10,Caf\xc3\xa9 (1995),"Action, Drama"\n',
        b"movieId,title,genres\n10,Caf\xc3\xa9 (1995),Action;Drama\n",
        b"movieId,title,genres\n10,Caf\xc3\xa9 (1995),Action|Drama\n10,Caf\xc3\xa9 (1995),Action|Drama\n",
        b"movieId,title,genres\n10,Caf\xc3\x83\xc2\xa9 (1995),Action|Drama\n",
        b"10::Caf\xe9 (1995)::Action|Drama\n",
    ],
)
def test_one_movie_in_every_edition(content: bytes) -> None:
    """The same id, title and genres."""
    catalogue = read_movies(content, "movies.csv")
    assert (catalogue.movie_id.tolist(), catalogue.title, catalogue.genres) == ([10], ["Café (1995)"], ["Action|Drama"])


def test_mixed_encodings_of_a_catalogue() -> None:
    """A line in Windows-1252 among lines in UTF-8: each is read as it is written."""
    content = "movieId,title,genres\n1,Amélie,Drama\n".encode() + "2,L’été,Drama\n".encode("cp1252")
    assert read_movies(content, "movies.csv").title == ["Amélie", "L’été"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"movieId,title\n1,X\n",
            "movies.csv line 1: no column genres (found: movieId, title); expected is the",
        ),
        (b"movieId,genres\n1,X\n", "movies.csv line 1: no column title (found: movieId, genres)"),
        (b"title,genres\nX,Drama\n", "movies.csv line 1: no column movieId (found: title, genres)"),
        (
            b"movieId,title,genres\n1,X,Drama\n2,Y,Drama\n1,Z,Drama\n",
            "movies.csv line 4: movie id 1 is 'Z' (Drama), but on line 2 it is 'X' (Drama); an id is one movie. Fix:",
        ),
        (b'movieId,title,genres\n1,"The "X" Files",Drama\n', "movies.csv line 2: ',' expected after '\"'"),
        (b'movieId,title,genres\n1,"A \\"B\\" C",Drama\n', "movies.csv line 2: ',' expected after '\"'"),
        (b"movieId,title,genres\n1,City, The,Drama\n", "movies.csv line 2: 4 columns where 3 are expected"),
        (b"movieId,title,genres\n1,X,\"['Action', 3]\"\n", "line 2: genres = ['Action', 3] is not a list of names"),
        (
            b"movieId,title,genres\n1,X,[Action\n",
            "line 2: genres = [Action is not a list of names; expected is Act",
        ),
        (b"movieId,title,genres\n1,X,Drama\n2,Y,Drama\nx,Z,Drama\n", "movies.csv line 4: movie id 'x' is not a number"),
    ],
)
def test_catalogues_that_cannot_be_read(content: bytes, message: str) -> None:
    """Refused with the line, its text and what is expected: no movie silently loses its genres or title."""
    with pytest.raises(UnknownFormat, match=re.escape(message)):
        read_movies(content, "movies.csv")


@pytest.mark.parametrize("cell", ["", "(no genres listed)", "nan", "[]", "NA"])
def test_no_genres(cell: str) -> None:
    """Words for none, and an empty list."""
    content = f"movieId,title,genres\n1,X,{cell}\n2,Y,Drama\n".encode()
    assert read_movies(content, "movies.csv").genres == ["", "Drama"]


def test_genres() -> None:
    """One separator splits a cell; names with a slash beside another separator stay whole."""
    assert parse_genres("Action|Sci-Fi/Fantasy") == ["Action", "Sci-Fi/Fantasy"]
    assert parse_genres("Action/Drama") == ["Action", "Drama"]


AMAZON = b"A2CMX45JPSCTUJ,0005019281,4.0,1203984000\nA1Z,B000AAA,5.0,1203984001\nA1Z,0005019281,1.0,1203984002\n"
AMAZON_MOVIES = b"asin,title,genres\n0005019281,X (1995),Drama\nB000AAA,Y,Comedy\nB000BBB,Z,Comedy\n"


def _import(warehouse: Warehouse, ratings: bytes, movies: bytes) -> list[str]:
    files = [
        SourceFile(name, str(hash(data)), lambda data=data: io.BytesIO(data))  # type: ignore[misc]
        for name, data in (("ratings.csv", ratings), ("movies.csv", movies))
    ]
    return import_files(warehouse, open_store_beside(warehouse), *files, "directory", NOW).notes


def test_text_ids_are_numbered_once_and_for_all(tmp_path: Path) -> None:
    """Users and movies under text ids: numbered in order of appearance, kept by later imports, whatever their order."""
    warehouse = Warehouse(f"sqlite:///{tmp_path / 'w.db'}")
    warehouse.upgrade()
    notes = _import(warehouse, AMAZON, AMAZON_MOVIES)
    assert len(notes) == 2
    assert all("published_ids" in note for note in notes)
    users = {"A2CMX45JPSCTUJ": 1, "A1Z": 2}
    movies = {"0005019281": 1, "B000AAA": 2, "B000BBB": 3}
    assert imports.read_published_ids(warehouse, "user") == users
    assert imports.read_published_ids(warehouse, "movie") == movies
    assert [row[:2] for row in queries.read_movies(warehouse)] == [(1, "X (1995)"), (2, "Y"), (3, "Z")]
    more = b"A9,B000BBB,3.0,1203984005\n" + AMAZON
    lines = AMAZON_MOVIES.split(b"\n")
    _import(warehouse, more, b"\n".join([lines[0], b"B000000,W,Drama", *lines[1:]]))
    assert imports.read_published_ids(warehouse, "user") == {**users, "A9": 3}
    assert imports.read_published_ids(warehouse, "movie") == {**movies, "B000000": 4}
    with warehouse.connect() as connection:
        rated = connection.exec_driver_sql("SELECT user_id, movie_id, rating FROM ratings ORDER BY 1, 2").fetchall()
    assert [tuple(row) for row in rated] == [(1, 1, 4.0), (2, 1, 1.0), (2, 2, 5.0), (3, 3, 3.0)]


def test_numbers_are_not_renumbered() -> None:
    """Ids that are numbers stay what they are, and a single odd one is refused."""
    ids = PublishedIds()
    catalogue = read_movies(b"movieId,title,genres\n70,X,Drama\n12,Y,Drama\n", "m", ids)
    assert (catalogue.movie_id.tolist(), ids.fresh, catalogue.numbered) == ([12, 70], {}, False)


RATINGS = st.lists(
    st.tuples(st.integers(1, 9999), st.integers(1, 9999), st.sampled_from(np.arange(0.5, 5.5, 0.5).tolist())),
    min_size=1,
    max_size=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    ratings=RATINGS,
    separator=st.sampled_from([",", ";", "\t"]),
    decimal=st.sampled_from([".", ","]),
    times=st.sampled_from(["seconds", "floats", "iso", "none"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    index=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_ratings_saved_again_at_random(
    ratings: list[tuple[int, int, float]], separator: str, decimal: str, times: str, quoting: int, index: bool,
    encoding: str,
) -> None:  # fmt: skip
    """Whatever writes the file, the ratings are those that were written."""
    frame = pd.DataFrame(ratings, columns=["userId", "movieId", "rating"])
    seconds = AT + 61 * np.arange(len(frame))
    if times == "iso":
        frame["timestamp"] = pd.to_datetime(seconds, unit="s").strftime("%Y-%m-%d %H:%M:%S")
    elif times != "none":
        frame["timestamp"] = seconds.astype(float) if times == "floats" else seconds
    if decimal == "," and (separator == "," or times == "floats"):
        decimal = "."
    text = frame.to_csv(sep=separator, decimal=decimal, quoting=quoting, index=index)  # type: ignore[call-overload]
    rows, reader = _read(text.encode(encoding))
    expected = seconds if times != "none" else [694_224_000] * len(frame)
    assert rows == [(*rating, at) for rating, at in zip(ratings, expected, strict=True)]
    assert reader.malformed == []
