"""The source `official` against a real server that answers as GroupLens does, well and badly, and its check."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator

import pytest

from accident_reco.models.movies.data.official_check import check_official
from accident_reco.models.movies.data.sources import OfficialSource, SourceError
from accident_reco.storage.download import Downloader
from accident_reco_tests.support.web import Site, body, redirect, serve
from accident_reco_tests.unit.models.movies.conftest import NOW

RATINGS = b"userId,movieId,rating,timestamp\n1,10,4.0,964982703\n"
MOVIES = b"movieId,title,genres\n10,X (1995),Drama\n"
PAGE = b"<html><head><title>Not now</title></head></html>"


def _zip(ratings: bytes = RATINGS, movies: bytes = MOVIES) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        opened.writestr("ml-x/ratings.csv", ratings)
        opened.writestr("ml-x/movies.csv", movies)
    return stream.getvalue()


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as made:
        yield made


def _source(site: Site) -> OfficialSource:
    return OfficialSource("ml-x", Downloader(trusted={site.host}, sleep=lambda _: None), site.url("/"))


def _check(site: Site) -> list[str]:
    """Outcomes in words."""
    return [
        f"{'ok' if check.passed else 'warning' if check.warn else 'differs'} {check.name}: {check.reason}"
        for check in check_official(_source(site), NOW)
    ]


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("form", ["{}", "MD5 (ml-x.zip) = {}\n", "{}  ml-x.zip\n", "{} *ml-x.zip"])
def test_every_form_of_a_checksum(site: Site, form: str) -> None:
    """As md5sum and BSD's md5 write it; the zip behind a redirect."""
    data = _zip()
    site.answers |= {"/ml-x.zip": redirect("/there/ml-x.zip"), "/there/ml-x.zip": body(data)}
    site.answers["/ml-x.zip.md5"] = body(form.format(_md5(data)).encode())
    checksum, archive, movies, ratings = _check(site)
    url = site.url("/ml-x.zip")
    assert checksum == f"ok checksum: {url}.md5 is {_md5(data)}"
    size = len(RATINGS) + len(MOVIES)
    members = f"{url}#ml-x/ratings.csv and {url}#ml-x/movies.csv"
    # The address is that of the set, whatever it redirects to.
    assert archive == f"ok zip: {members}, {size} bytes; md5 {_md5(data)} verified"
    assert movies == "ok movies: 1 movies, 1 with genres"
    assert ratings.startswith("ok ratings: 1 ratings, stars 0.5 to 5 by 0.5: 0 of 1 rating rows")


def test_missing_checksum_is_a_warning(site: Site) -> None:
    """No md5 for a set that never changes: the zip is read, and the check warns."""
    site.answers["/ml-x.zip"] = body(_zip())
    assert _check(site)[0] == f"warning checksum: no md5 is published for {site.url('/ml-x.zip')}"


def test_web_pages(site: Site) -> None:
    """A page instead of the zip, tried again, or instead of the checksum: named by its title or text."""
    site.answers["/ml-x.zip"] = [body(PAGE), body(_zip())]
    assert len(_check(site)) == 4
    site.answers["/ml-x.zip"] = body(PAGE)
    assert "answered a web page (Not now) instead of a file (tried 4 times)" in _check(site)[1]
    site.answers["/ml-x.zip.md5"] = body(PAGE)
    with pytest.raises(SourceError, match=r"ml-x.zip.md5 holds no md5: '<html>"):
        _source(site).fetch_ratings()


def test_rate_limit_and_changed_files(site: Site) -> None:
    """429 is waited for; other columns than before are named."""
    data = _zip(movies=b"movieId,title\n10,X\n")
    site.answers["/ml-x.zip"] = [body(b"later", 429, Retry_After="1"), body(data)]
    assert _check(site)[-1].startswith("differs formats: movies.csv line 1: no column genres (found: movieId, ti")
