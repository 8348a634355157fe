"""The source `official` against a real server that answers as data.gouv.fr does, well and badly."""

from __future__ import annotations

import email.utils
import hashlib
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from accident_reco.contract import Check
from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.sources.base import SourceError
from accident_reco.models.accidents.sources.official import DATASET_ID, SLUG, STABLE_IDS, OfficialSource
from accident_reco.models.accidents.sources.official_check import check_official
from accident_reco.storage.download import Downloader
from accident_reco_tests.support.web import Answer, Site, body, redirect, serve

FILES = {2022: sample_year(2022, 200), 2023: sample_year(2023, 200)}
ERROR_PAGE = b"<!DOCTYPE html><html><head><title>503 - Maintenance</title></head><body>Bient\xc3\xb4t</body></html>"
EDITION = "/api/" + SLUG.format(year=2023) + "/"


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as made:
        yield made


def _source(site: Site, waits: list[float] | None = None) -> OfficialSource:
    sleep = (waits if waits is not None else []).append
    downloader = Downloader(trusted={site.host}, sleep=sleep, read_timeout_s=2)
    return OfficialSource(downloader, site.url("/api/"), site.url("/r/"), latest=lambda: 2024)


def _list(site: Site, path: str = EDITION, **changes: object) -> list[dict[str, object]]:
    """Serve the files of two years, and list them at `path` as the API does; `changes` apply to every entry."""
    entries: list[dict[str, object]] = []
    for year, files in FILES.items():
        for position, table in enumerate(TABLES):
            file = files[table]
            address = f"/resources/{file.name}"
            site.answers[address] = body(file.data)
            entries.append(
                {
                    "id": STABLE_IDS[year][position],
                    "title": file.name,
                    "url": site.url(address),
                    "format": "csv",
                    "checksum": {"type": "sha1", "value": hashlib.sha1(file.data, usedforsecurity=False).hexdigest()},
                    "last_modified": "2024-10-21T00:00:00",
                }
                | changes
            )
    site.answers[path] = body(json.dumps({"resources": entries}).encode(), kind="application/json")
    return entries


def _fetch(source: OfficialSource, table: str = "usagers") -> bytes:
    with source.fetch(2023, table).stream as stream:
        return stream.read()


USERS = FILES[2023]["usagers"].data


def test_redirects_of_the_listing_and_of_files(site: Site) -> None:
    """An edition that moved, and files behind two redirects, relative and absolute."""
    _list(site, "/api/moved/")
    site.answers[EDITION] = redirect("/api/moved/")
    site.answers["/resources/usagers-2023.csv"] = redirect(site.url("/static/1"))
    site.answers["/static/1"] = redirect("2")
    site.answers["/static/2"] = body(USERS)
    source = _source(site)
    assert source.years() == [2022, 2023]
    assert _fetch(source) == USERS
    assert source.is_current()


def test_slug_that_changed(site: Site) -> None:
    """Without any known slug the id of the dataset is asked, before the stable links."""
    _list(site, f"/api/{DATASET_ID}/")
    source = _source(site)
    assert source.years() == [2022, 2023]
    assert source.listed_at.endswith(f"/api/{DATASET_ID}/")
    assert source.is_current()


@pytest.mark.parametrize(
    ("rename", "noted"),
    [
        (lambda table, year: f"{table}-{year}.csv", False),
        (lambda table, year: f"{table.capitalize().replace('teri', 'téri').replace('ehi', 'éhi')} {year}", True),
        (lambda table, year: f"{table}_{year}_v2.csv", True),
        (lambda table, year: f"{year}-{table}.csv", True),
    ],
)
def test_renamed_resources(site: Site, rename: object, noted: bool) -> None:
    """Titles in other spellings are recognised by the title or the address, and new ones are noted."""
    entries = _list(site)
    for entry, (year, table) in zip(entries, [(y, t) for y in FILES for t in TABLES], strict=True):
        entry["title"] = rename(table, year)  # type: ignore[operator]
        address = f"/resources/{entry['id']}"
        site.answers[address] = body(FILES[year][table].data)
        entry["url"] = site.url(address)
    site.answers[EDITION] = body(json.dumps({"resources": entries}).encode())
    source = _source(site)
    assert source.years() == [2022, 2023]
    assert _fetch(source) == USERS
    assert any("names that are new" in note for note in source.notes()) == noted


def test_publishers_name_is_preferred(site: Site) -> None:
    """A later file of another name beside the publisher's own does not replace it."""
    entries = _list(site)
    site.answers["/resources/other"] = body(b"other")
    other = {**entries[-1], "title": "usagers-2023-extrait.csv", "url": site.url("/resources/other")}
    other["last_modified"] = "2026-01-01T00:00:00"
    site.answers[EDITION] = body(json.dumps({"resources": [*entries, other]}).encode())
    assert _fetch(_source(site)) == USERS


@pytest.mark.parametrize(
    "checksum", [None, {}, {"type": "sha1", "value": None}, {"type": "crc32", "value": "1"}, "sha1"]
)
def test_missing_checksums(site: Site, checksum: object) -> None:
    """Without a checksum of a known kind the file is taken as it comes."""
    _list(site, checksum=checksum)
    assert _fetch(_source(site)) == USERS


def test_web_page_instead_of_a_file(site: Site) -> None:
    """A page with status 200 is tried again, then named by its title; a file behind it is read once it is there."""
    _list(site, checksum=None)
    site.answers["/resources/usagers-2023.csv"] = [body(ERROR_PAGE, kind="text/html"), body(USERS)]
    assert _fetch(_source(site)) == USERS
    site.answers["/resources/usagers-2023.csv"] = body(ERROR_PAGE, kind="text/html")
    message = r"usagers of 2023 cannot be fetched: .*answered a web page \(503 - Maintenance\) instead of a file"
    with pytest.raises(SourceError, match=message):
        _fetch(_source(site))


def test_web_page_instead_of_the_listing(site: Site) -> None:
    """The stable links are used, and the note names the page."""
    site.answers["/api/" + SLUG.format(year=2024) + "/"] = body(ERROR_PAGE, kind="text/html")
    source = _source(site)
    assert source.years() == sorted(STABLE_IDS)
    assert "answered a web page (503 - Maintenance) instead of a file" in source.notes()[0]


def test_rate_limits_are_waited_for(site: Site) -> None:
    """Seconds, a date, and a wait beyond reason; the file is fetched after them."""
    _list(site)
    later = email.utils.formatdate(time.time() + 40, usegmt=True)
    site.answers["/resources/usagers-2023.csv"] = [
        body(b"slow down", 429, Retry_After="7"),
        body(b"slow down", 503, Retry_After=later),
        body(b"slow down", 429, Retry_After="86400"),
        body(USERS),
    ]
    waits: list[float] = []
    assert _fetch(_source(site, waits)) == USERS
    assert waits[0] == 7
    assert 30 < waits[1] <= 40
    assert waits[2] == 60


def _half(data: bytes, tag: str, asked: list[str], resumes: bool = True, changed: bytes | None = None) -> Answer:
    """A server whose first answer breaks off in the middle; `Range` is answered with the rest, or with everything."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        asked.append(wanted)
        content = data if len(asked) == 1 or changed is None else changed
        same = request.headers.get("If-Range") == tag and changed is None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and resumes and same else 0
        request.send_response(206 if start else 200)
        request.send_header("ETag", tag if changed is None or len(asked) == 1 else '"new"')
        request.send_header("Content-Length", str(len(content) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        request.wfile.write(content[start : len(content) // 2] if len(asked) == 1 else content[start:])
        if len(asked) == 1:
            request.close_connection = True

    return answer


@pytest.mark.parametrize("resumes", [True, False])
def test_half_downloads_are_resumed(site: Site, resumes: bool) -> None:
    """A connection that breaks in the middle: the rest is requested, and a server that sends everything is read too."""
    _list(site)
    asked: list[str] = []
    site.answers["/resources/usagers-2023.csv"] = _half(USERS, '"abc"', asked, resumes)
    assert _fetch(_source(site)) == USERS
    assert asked == ["", f"bytes={len(USERS) // 2}-"]


def test_a_file_that_changed_meanwhile_is_fetched_whole(site: Site) -> None:
    """The rest of another file is never appended."""
    _list(site, checksum=None)
    asked: list[str] = []
    other = USERS.replace(b'"1"', b'"2"')
    site.answers["/resources/usagers-2023.csv"] = _half(USERS, '"abc"', asked, changed=other)
    assert _fetch(_source(site)) == other


def test_a_wrong_rest_is_not_appended(site: Site) -> None:
    """A server that answers with another part: the body is fetched from its beginning."""
    _list(site)
    for wrong in (body(b"x", 206, ETag='"abc"', Content_Range="bytes 0-0/9"), body(b"", 416)):
        site.answers["/resources/usagers-2023.csv"] = [_half(USERS, '"abc"', []), wrong, body(USERS)]
        assert _fetch(_source(site)) == USERS


def test_check_finds_nothing_to_report(site: Site) -> None:
    """Answers as this release expects them but for the years, which are fewer here."""
    _list(site)
    found = {check.name: check for check in check_official(_source(site))}
    differing = [name for name, check in found.items() if not check.passed]
    assert differing == ["years", "stable_links"]
    assert "years with four files: 2022, 2023; expected also 2005, 2006" in found["years"].reason
    assert (
        "caracteristiques of 2021: 85cfdc0c-23e4-4674-9bcd-79a970d7269b is not listed" in found["stable_links"].reason
    )
    assert "of 2023" not in found["stable_links"].reason
    assert found["one_row_per_road_user"].passed


def test_check_names_what_differs(site: Site) -> None:
    """New names, missing checksums, a file that is another one: each is one line."""
    entries = _list(site, checksum=None)
    entries[0]["title"], entries[0]["url"] = "Caractéristiques 2022", site.url("/resources/x")
    site.answers["/resources/x"] = body(FILES[2022]["caracteristiques"].data)
    entries.append({"title": "usager-2023.csv", "url": "x"})
    site.answers[EDITION] = body(json.dumps({"resources": entries}).encode())
    site.answers["/resources/lieux-2023.csv"] = body(b"a,b\n1,2\n")
    found: dict[str, Check] = {check.name: check for check in check_official(_source(site))}
    assert (
        found["names"].reason
        == "new names: Caractéristiques 2022.csv; not read, though similarly named: usager-2023.csv"
    )
    assert found["checksums"].warn
    assert found["checksums"].reason.startswith("no checksum: Caractéristiques 2022.csv, lieux-2022.csv")
    assert not found["reading"].passed
    assert "lieux-2023.csv line 1: this is not a lieux file" in found["reading"].reason


def test_check_without_a_network() -> None:
    """One line that names the cause."""
    downloader = Downloader(trusted={"127.0.0.1:9"}, attempts=1, sleep=lambda _: None)
    source = OfficialSource(downloader, "http://127.0.0.1:9/api/", "http://127.0.0.1:9/r/", latest=lambda: 2024)
    listing, fetched = check_official(source)
    assert not listing.passed
    assert "connection failed" in listing.reason
    assert not fetched.passed
