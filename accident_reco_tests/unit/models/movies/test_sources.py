"""Sources of the files: generated, a directory, an address, and the published zip with its checksum."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from accident_reco.models.movies.data import raw_store, sources
from accident_reco.models.movies.data.sample import SampleSpec, generate_movies_csv, generate_ratings_csv
from accident_reco.models.movies.data.sources import (
    DirectorySource,
    FetchedFile,
    OfficialSource,
    SampleSource,
    SourceError,
    extract_member,
    open_source,
)
from accident_reco.settings import Settings
from accident_reco.storage.download import Downloader
from accident_reco.storage.objects import open_store

RATINGS = b"userId,movieId,rating,timestamp\n1,10,4.0,964982703\n"
MOVIES = b"movieId,title,genres\n10,X (1995),Drama\n"


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


GOOD = archive(**{"ml-x__ratings.csv": RATINGS, "ml-x__movies.csv": MOVIES, "ml-x__README.txt": b"read"})


@pytest.fixture
def web() -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """A real server: its address, its content by path, and the requested paths."""
    files: dict[str, bytes] = {}
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", files, requested
    server.shutdown()
    server.server_close()
    thread.join(timeout=5)


def content(fetched: FetchedFile) -> bytes:
    """All of a fetched file."""
    with fetched.stream as stream:
        return stream.read()


def official(base: str) -> OfficialSource:
    return OfficialSource("ml-x", Downloader(trusted={urlsplit(base).netloc}, attempts=2, backoff_s=0), base)


def test_official_zip_is_verified_by_its_md5(web: tuple[str, dict[str, bytes], list[str]]) -> None:
    """The zip and its published md5: both files come out, the zip is fetched once."""
    base, files, requested = web
    files["/ml-x.zip"] = GOOD
    files["/ml-x.zip.md5"] = f"MD5 (ml-x.zip) = {hashlib.md5(GOOD).hexdigest()}\n".encode()
    source = official(base)
    ratings, movies = source.fetch_ratings(), source.fetch_movies()
    source.close()
    assert (ratings.name, content(ratings)) == ("ratings.csv", RATINGS)
    assert (movies.name, content(movies)) == ("movies.csv", MOVIES)
    assert ratings.sha256 == hashlib.sha256(RATINGS).hexdigest()
    assert ratings.note == f"md5 {source.compute_fingerprint()} verified"
    assert requested.count("/ml-x.zip") == 1


def test_wrong_md5_is_rejected(web: tuple[str, dict[str, bytes], list[str]]) -> None:
    """A zip that is not the published one: tried again, then rejected, naming both sums."""
    base, files, requested = web
    files["/ml-x.zip"] = GOOD
    files["/ml-x.zip.md5"] = b"0" * 32 + b"  ml-x.zip\n"
    with pytest.raises(SourceError, match=r"the md5 is [0-9a-f]{32}, published is 0{32}"):
        official(base).fetch_ratings()
    assert requested.count("/ml-x.zip") == 2


def test_set_without_a_published_md5(web: tuple[str, dict[str, bytes], list[str]]) -> None:
    """GroupLens publishes none for the sets that change; the note says that nothing was compared."""
    base, files, _ = web
    files["/ml-x.zip"] = GOOD
    source = official(base)
    movies = source.fetch_movies()
    source.close()
    assert (content(movies), movies.note) == (MOVIES, "no md5 is published for this set")


def test_hostile_zips() -> None:
    """A path that climbs is only a name; a bomb, two files of one name, none, and an invalid zip are rejected."""
    climbing = io.BytesIO(archive(**{"..__..__etc__ratings.csv": RATINGS}))
    assert content(extract_member(climbing, "u", ["ratings.csv"])) == RATINGS
    bomb = io.BytesIO(archive(**{"ratings.csv": b"0" * 20_000_000}))
    with pytest.raises(SourceError, match="unpacks to more than"):
        extract_member(bomb, "u", ["ratings.csv"])
    twice = io.BytesIO(archive(**{"a__ratings.csv": RATINGS, "b__ratings.csv": RATINGS}))
    with pytest.raises(SourceError, match=r"holds 2 files called ratings\.csv"):
        extract_member(twice, "u", ["ratings.csv"])
    with pytest.raises(SourceError, match=r"holds none of ratings\.csv, ratings\.dat"):
        extract_member(io.BytesIO(archive(**{"x.txt": b"x"})), "u", ["ratings.csv", "ratings.dat"])
    with pytest.raises(SourceError, match="not a valid zip"):
        extract_member(io.BytesIO(b"<html>"), "u", ["ratings.csv"])


def _patched(method: int = zipfile.ZIP_DEFLATED, *, local: dict[int, bytes], central: dict[int, bytes]) -> bytes:
    """A zip of `ratings.csv` with bytes replaced, by offset in its local and its central header."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as opened:
        opened.writestr("ratings.csv", RATINGS * 200)
    raw = bytearray(stream.getvalue())
    directory = raw.find(b"PK\x01\x02")
    for start, changes in ((0, local), (directory, central)):
        for offset, value in changes.items():
            raw[start + offset : start + offset + len(value)] = value
    return bytes(raw)


DATA = 30 + len("ratings.csv")  # where the member's data begin


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        (_patched(local={DATA: b"\xff" * 6}, central={}), "not a valid zip: Error -3 while decompressing"),
        (_patched(zipfile.ZIP_BZIP2, local={DATA + 10: b"\0" * 9}, central={}), "not a valid zip: Invalid data stream"),
        (_patched(zipfile.ZIP_LZMA, local={DATA + 4: b"\xff" * 9}, central={}), "not a valid zip: "),
        (_patched(zipfile.ZIP_STORED, local={DATA: b"#"}, central={}), "not a valid zip: Bad CRC-32"),
        (_patched(local={6: b"\1"}, central={8: b"\1"}), "ratings.csv is encrypted; give a zip without password"),
        (_patched(local={8: b"\x61"}, central={10: b"\x61"}), "not a valid zip: .*method is not supported"),
        (_patched(local={6: b"\x20"}, central={8: b"\x20"}), "not a valid zip: compressed patched data"),
        (_patched(local={}, central={6: b"\xff"}), r"not a valid zip: zip file version 25\.5"),
        (_patched(local={}, central={42: b"\xff\xff\xff\x7f"}), "not a valid zip: "),
        (_patched(local={26: b"\xff\xff"}, central={}), "not a valid zip: "),
        (_patched(local={}, central={})[:-30], "not a valid zip: File is not a zip file"),
    ],
    ids=["deflate", "bzip2", "lzma", "checksum", "encrypted", "method", "patched", "version", "offset", "name", "cut"],
)
def test_damaged_zip_is_one_sentence(damaged: bytes, why: str) -> None:
    """Each error of zipfile and its decompressors comes out as a SourceError that names the address and the cause."""
    with pytest.raises(SourceError, match=f"https://host/ml.zip.*{why}"):
        extract_member(io.BytesIO(damaged), "https://host/ml.zip", ["ratings.csv"])


def test_any_flipped_byte_of_a_zip_gives_the_file_or_a_source_error() -> None:
    """Whatever single byte is damaged, in every method that is read: the same content, or a SourceError."""
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        sound = _patched(method, local={}, central={})
        for position in range(0, len(sound), max(1, len(sound) // 400)):
            damaged = bytearray(sound)
            damaged[position] ^= 0xFF
            try:
                assert content(extract_member(io.BytesIO(bytes(damaged)), "u", ["ratings.csv"])) == RATINGS * 200
            except SourceError:
                continue


def test_directory_of_each_set(tmp_path: Path) -> None:
    """The complete pair is read; an error names the expected files and those found."""
    (tmp_path / "u.data").write_bytes(b"1\t10\t4\t964982703\n")
    with pytest.raises(SourceError, match=r"does not hold ratings\.csv with movies\.csv or .*; it holds u\.data"):
        DirectorySource(str(tmp_path)).fetch_ratings()
    (tmp_path / "u.item").write_bytes(b"10|X\n")
    assert content(DirectorySource(str(tmp_path)).fetch_ratings()) == b"1\t10\t4\t964982703\n"
    (tmp_path / "ratings.csv").write_bytes(RATINGS)
    (tmp_path / "movies.csv").write_bytes(MOVIES)
    source = DirectorySource(str(tmp_path))
    assert content(source.fetch_movies()) == MOVIES
    before = source.compute_fingerprint()
    (tmp_path / "ratings.csv").write_bytes(RATINGS + b"1,11,4.0,964982703\n")
    assert DirectorySource(str(tmp_path)).compute_fingerprint() != before
    with pytest.raises(SourceError, match="does not exist"):
        DirectorySource(str(tmp_path / "missing")).fetch_ratings()


def test_address_that_holds_the_files(web: tuple[str, dict[str, bytes], list[str]]) -> None:
    """An http address is tried for the files of each set in turn."""
    base, files, _ = web
    files["/ml/ratings.dat"] = b"1::10::4::964982703\n"
    ratings = DirectorySource(base + "ml").fetch_ratings()
    assert (ratings.name, content(ratings)) == ("ratings.dat", b"1::10::4::964982703\n")
    with pytest.raises(SourceError, match="does not provide"):
        DirectorySource(base + "elsewhere").fetch_ratings()


def test_settings_name_the_source(tmp_path: Path) -> None:
    """sample, official and a place."""
    sample = open_source(Settings.load(movies_sample_ratings=3_000, seed=4))
    assert isinstance(sample, SampleSource)
    assert sample.spec == SampleSpec(3_000, 4, 0)
    published = open_source(Settings.load(movies_source="official", movies_dataset="ml-32m"))
    assert isinstance(published, OfficialSource)
    assert published.url == "https://files.grouplens.org/datasets/movielens/ml-32m.zip"
    assert isinstance(open_source(Settings.load(movies_source=str(tmp_path))), DirectorySource)


def test_stored_file_is_fetched_once(tmp_path: Path) -> None:
    """The same source again: nothing is fetched; another one: the record changes and both files stay."""
    store = open_store(tmp_path.as_uri())
    source = SampleSource(SampleSpec(2_000, 1))
    first, fetched = raw_store.fetch_raw(store, source, "raw_ratings")
    again, refetched = raw_store.fetch_raw(store, source, "raw_ratings")
    assert (fetched, refetched) == (True, False)
    assert first == again
    file, record = raw_store.open_raw_file(store, "raw_ratings")
    with file.open() as stream:
        assert hashlib.sha256(stream.read()).hexdigest() == record.sha256 == first.sha256
    assert str(raw_store.read_rating_scale(store)) == "0.5 to 5 by 0.5"
    changed, fetched = raw_store.fetch_raw(store, SampleSource(SampleSpec(2_000, 2)), "raw_ratings")
    assert fetched
    assert changed.sha256 != first.sha256
    assert raw_store.is_from_source(store, SampleSource(SampleSpec(2_000, 2)))
    assert not raw_store.is_from_source(store, source)
    with pytest.raises(SourceError, match="materialize movies/raw_movies first"):
        raw_store.open_raw_file(store, "raw_movies")


def test_another_place_of_the_same_kind_is_noticed(tmp_path: Path) -> None:
    """`make up MOVIES=a`, then `MOVIES=b`: both are directories. Of a published set no start depends on the network."""
    store = open_store((tmp_path / "store").as_uri())
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
        (place / "ratings.csv").write_bytes(RATINGS)
        (place / "movies.csv").write_bytes(MOVIES)
    one, other = (DirectorySource(str(place)) for place in places)
    assert not raw_store.is_from_source(store, one)
    raw_store.fetch_raw(store, one, "raw_ratings")
    assert raw_store.is_from_source(store, one)
    assert not raw_store.is_from_source(store, other)
    assert not raw_store.is_from_source(store, OfficialSource("ml-1m"))
    with pytest.raises(SourceError, match="does not exist"):
        raw_store.is_from_source(store, DirectorySource(str(tmp_path / "c")))
    zipped = "https://files.grouplens.org/datasets/movielens/ml-1m.zip#ml-1m/ratings.dat"
    assert OfficialSource("ml-1m").provides(zipped, "")
    assert not OfficialSource("ml-32m").provides(zipped, "")
    assert DirectorySource("https://there.example/ml/").provides("https://there.example/ml/ratings.dat", "")
    assert not DirectorySource("https://there.example/ml").provides("https://there.example/else/ratings.dat", "")


def test_sample_repeats_itself_and_grows() -> None:
    """Same spec, same bytes; about the requested number of ratings at any size; real headers."""
    spec = SampleSpec(ratings=5_000, seed=9)
    first = b"".join(generate_ratings_csv(spec))
    assert first == b"".join(generate_ratings_csv(spec))
    assert generate_movies_csv(spec) == generate_movies_csv(spec)
    assert first.startswith(b"userId,movieId,rating,timestamp\n")
    assert generate_movies_csv(spec).startswith(b"movieId,title,genres\n")
    for size in (30_000, 60_000):
        rows = b"".join(generate_ratings_csv(SampleSpec(ratings=size, seed=9))).count(b"\n")
        assert 0.6 * size < rows < 1.5 * size
    assert sources.FILE_PAIRS[0] == ("ratings.csv", "movies.csv")
