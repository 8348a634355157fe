"""Directories with a rating and a movie file as people have them, and their inspection."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from accident_reco.models.movies.data.sources import DirectorySource, SourceError
from accident_reco.models.movies.model import MODEL

RATINGS = b"userId,movieId,rating,timestamp\n1,10,4.0,964982703\n2,10,3.5,964982704\n"
MOVIES = b"movieId,title,genres\n10,X (1995),Drama\n"


def _zip(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for name, content in members.items():
            opened.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


PLACES: dict[str, dict[str, bytes]] = {
    "capitals": {"Ratings.CSV": RATINGS, "MOVIES.csv": MOVIES},
    "one for each": {"rating.csv": RATINGS, "movie.csv": MOVIES},
    "a folder": {"ml-20m/ratings.csv": RATINGS, "ml-20m/movies.csv": MOVIES, "ml-20m/links.csv": b"x"},
    "gzip": {"ratings.csv.gz": gzip.compress(RATINGS), "movies.csv.gz": gzip.compress(MOVIES)},
    "a zip": {"ml-x.zip": _zip(**{"ml-x__ratings.csv": RATINGS, "ml-x__movies.csv": MOVIES, "__MACOSX/._x": b"x"})},
}


@pytest.mark.parametrize("place", list(PLACES))
def test_both_files_are_found(tmp_path: Path, place: str) -> None:
    """In a directory, a folder or a zip, compressed or not, under any capitals; the inspection finds them too."""
    for name, content in PLACES[place].items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    source = DirectorySource(str(tmp_path))
    for fetched, expected in ((source.fetch_ratings(), RATINGS), (source.fetch_movies(), MOVIES)):
        with fetched.stream as stream:
            assert stream.read() == expected
    assert source.provides("", source.compute_fingerprint())
    ratings, movies = MODEL.inspect_files(tmp_path)
    assert (ratings.content, ratings.rows, ratings.problem) == ("ratings", 2, "")
    assert ratings.layout == "like ratings.csv, separated by ',', stars 0.5 to 5 by 0.5"
    assert (movies.content, movies.rows, movies.layout) == ("movies", 1, "1 with genres")


def test_files_of_two_folders_are_no_pair(tmp_path: Path) -> None:
    """Ratings of one set and movies of another do not belong together; near misses are listed by name."""
    for name in ("a/ratings.csv", "b/movies.csv", "movie_titles.csv", "rating.csv.bak"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=r"holds .*nearly so named: .*rating\.csv\.bak \(expected is rating\.csv\)"):
        DirectorySource(str(tmp_path)).fetch_ratings()
    reports = {report.file: report.problem for report in MODEL.inspect_files(tmp_path)}
    assert reports["rating.csv.bak"] == "not read: expected is rating.csv"


def test_inspection_shows_what_an_import_would_refuse(tmp_path: Path) -> None:
    """Reasons with their rows; a rating file that would fail its check begins with the cause; a broken catalogue."""
    (tmp_path / "movies.csv").write_bytes(MOVIES)
    (tmp_path / "ratings.csv").write_bytes(RATINGS + b"3,11,4.0,964982703\n4,12,4.0,964982703\n5,10\n")
    ratings, _ = MODEL.inspect_files(tmp_path)
    assert ratings.rows == 2
    assert list(ratings.rejected.values()) == [2, 1]
    assert ratings.problem.startswith(
        "ratings.csv line 4: movie 11 is not in the movies file; row kept in quarantine; 3 of 5"
    )
    (tmp_path / "movies.csv").write_bytes(b"movieId,title\n10,X\n")
    ratings, movies = MODEL.inspect_files(tmp_path)
    assert movies.problem.startswith("movies.csv line 1: no column genres (found: movieId, title)")
    assert ratings.problem == "not imported: the movie file cannot be read"


def test_nothing_to_inspect(tmp_path: Path) -> None:
    """A folder without any such file has no report."""
    (tmp_path / "usagers-2022.csv").write_bytes(b"x")
    assert MODEL.inspect_files(tmp_path) == []
