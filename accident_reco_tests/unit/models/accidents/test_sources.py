"""Sources: the official dataset through recorded API answers, directories of any depth, sample years."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.raw_store import fetch_raw_file
from accident_reco.models.accidents.data.watch import find_changed_years
from accident_reco.models.accidents.sources import SourceError, open_source
from accident_reco.models.accidents.sources.directory import DirectorySource
from accident_reco.models.accidents.sources.naming import parse_file_name
from accident_reco.models.accidents.sources.official import SLUG, STABLE_IDS, OfficialSource
from accident_reco.models.accidents.sources.sample import SampleSource, parse_years
from accident_reco.settings import Settings
from accident_reco.storage.download import Downloader
from accident_reco.storage.objects import open_store
from accident_reco_tests.support.web import Answer, Site, body, redirect, serve

NAMES = {
    2016: ["caracteristiques_2016.csv", "lieux_2016.csv", "vehicules_2016.csv", "usagers_2016.csv"],
    2021: ["carcteristiques-2021.csv", "lieux-2021.csv", "vehicules-2021.csv", "usagers-2021.csv"],
    2023: ["caract-2023.csv", "lieux-2023.csv", "vehicules-2023.csv", "usagers-2023.csv"],
    2024: ["caract-2024.csv", "lieux-2024.csv", "vehicules-2024.csv"],
}


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as made:
        yield made


def _entry(site: Site, name: str, modified: str = "2024-10-21T00:00:00", folder: str = "20241021") -> dict[str, object]:
    """A resource as the API lists it; the file is served with it."""
    path = f"/resources/{folder}/{name}"
    data = f"content of {folder} {name}".encode()
    site.answers[path] = body(data)
    return {
        "id": hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(),
        "title": name,
        "url": site.url(path),
        "format": "csv",
        "filesize": len(data),
        "checksum": {"type": "sha1", "value": hashlib.sha1(data, usedforsecurity=False).hexdigest()},
        "last_modified": modified,
    }


def _api(entries: list[dict[str, object]]) -> Answer:
    return body(json.dumps({"slug": "x", "resources": entries}).encode(), kind="application/json")


def _source(site: Site) -> OfficialSource:
    downloader = Downloader(trusted={site.host}, sleep=lambda _: None, read_timeout_s=2)
    return OfficialSource(downloader, site.url("/api/"), site.url("/r/"), latest=lambda: 2026)


def _edition(year: int) -> str:
    return "/api/" + SLUG.format(year=year) + "/"


@pytest.fixture
def listed(site: Site) -> Site:
    entries = [_entry(site, name) for names in NAMES.values() for name in names]
    entries += [
        _entry(site, "vehicules-immatricules-baac-2023.csv"),
        _entry(site, "description-des-bases-de-donnees-annuelles.pdf"),
        {"title": "no url"},
        _entry(site, "usagers-2023.csv", "2025-01-07T00:00:00", "20250107"),
    ]
    site.answers[_edition(2024)] = _api(entries)
    return site


def test_official_years_by_name(listed: Site) -> None:
    """Names that change over the years, other datasets between them, an incomplete year, the newest edition's slug."""
    source = _source(listed)
    assert source.years() == [2016, 2021, 2023]
    assert source.notes() == ["2024 is left out: the dataset lists no file for usagers"]
    assert [_edition(2026), _edition(2025), _edition(2024)] == listed.asked
    got = source.fetch(2021, "caracteristiques")
    assert got.name == "carcteristiques-2021.csv"
    assert got.stream.read() == b"content of 20241021 carcteristiques-2021.csv"
    got.stream.close()


def test_corrected_file_is_the_one_read(listed: Site) -> None:
    """A file published again counts from then on, and the year's fingerprint changes with it."""
    source = _source(listed)
    with source.fetch(2023, "usagers").stream as stream:
        assert stream.read() == b"content of 20250107 usagers-2023.csv"
    before = source.fingerprint(2023)
    entries = [_entry(listed, name, folder="later") for name in NAMES[2023]]
    listed.answers[_edition(2024)] = _api(entries)
    assert _source(listed).fingerprint(2023) != before
    assert _source(listed).fingerprint(2023) == _source(listed).fingerprint(2023)


def test_published_checksum_is_held(listed: Site) -> None:
    """A file that is not the published one is refused with both digests."""
    listed.answers["/resources/20241021/lieux-2023.csv"] = body(b"something else")
    with pytest.raises(SourceError, match=r"lieux of 2023 cannot be fetched: .*the sha1 is [0-9a-f]{40}, published is"):
        _source(listed).fetch(2023, "lieux")


def test_stable_links_when_the_api_is_down(site: Site) -> None:
    """An API that only fails leaves the stable links, which redirect to the files."""
    for year in range(2019, 2027):
        site.answers[_edition(year)] = body(b"oops", 500)
    site.answers["/static/usagers-2022.csv"] = body(b"data")
    site.answers["/r/" + STABLE_IDS[2022][3]] = redirect(site.url("/static/usagers-2022.csv"))
    source = _source(site)
    assert source.years() == [2019, 2020, 2021, 2022, 2023]
    assert "the stable links are used instead" in source.notes()[0]
    with source.fetch(2022, "usagers").stream as stream:
        assert stream.read() == b"data"


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"resources": null}', b'{"message": "gone"}'])
def test_api_that_answers_nonsense(site: Site, answer: bytes) -> None:
    """A page instead of JSON, or JSON of another shape: the stable links are used."""
    site.answers[_edition(2026)] = body(answer)
    assert _source(site).years() == sorted(STABLE_IDS)


def test_year_that_is_not_published(listed: Site) -> None:
    """The error names the years that are."""
    with pytest.raises(SourceError, match="2024 is not published with all four files; published are 2016, 2021, 2023"):
        _source(listed).fetch(2024, "usagers")


def test_official_refuses_the_loopback_by_default() -> None:
    """As shipped, the source reaches data.gouv.fr over https and nothing else."""
    source = OfficialSource(api="http://127.0.0.1:1/api/", stable="http://127.0.0.1:1/r/", latest=lambda: 2024)
    with pytest.raises(SourceError, match="only https is followed here"):
        source.fetch(2023, "usagers")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("caracteristiques_2016.csv", ("caracteristiques", 2016, True)),
        ("caracteristiques-2017.csv", ("caracteristiques", 2017, True)),
        ("carcteristiques-2021.csv", ("caracteristiques", 2021, True)),
        ("caract-2024.csv", ("caracteristiques", 2024, True)),
        ("USAGERS-2020.CSV", ("usagers", 2020, True)),
        ("lieux-2018-head.csv", ("lieux", 2018, False)),
        ("vehicules-immatricules-baac-2023.csv", None),
        ("usagers_sample.csv", None),
        ("lieux-2023.csv.gz", ("lieux", 2023, False)),
        ("Caractéristiques 2016.csv", ("caracteristiques", 2016, False)),
        ("Ve\u0301hicules_2019 (1).csv", ("vehicules", 2019, False)),
        ("2021_usagers.csv", ("usagers", 2021, False)),
        ("2021/usagers.csv", ("usagers", 2021, False)),
        ("baac 2021.zip#lieux.csv", ("lieux", 2021, False)),
        ("lieux-2021.zip#data.csv", ("lieux", 2021, False)),
        ("usagers_2005_2016.csv", None),
        ("__MACOSX/._usagers-2023.csv", None),
    ],
)
def test_names(name: str, found: tuple[str, int, bool] | None) -> None:
    """Every spelling of the publisher, and what only looks like one."""
    assert parse_file_name(name) == found


def test_real_directory_has_2024_and_reports_skipped_years(baac_dir: Path) -> None:
    """Files two levels deep are found; heads of 2018 are no year."""
    source = DirectorySource(str(baac_dir))
    assert source.years() == [2024]
    note, *near = source.notes()
    assert note.startswith("2018 is left out: found lieux-2018-head.csv, vehicules-2018-head.csv, but no file for")
    expected = "is not read: its name is not that of a yearly file; expected is caract-YYYY.csv"
    assert f"older/caracteristics_sample.csv {expected}" in near
    with source.fetch(2024, "usagers").stream as got:
        assert got.readline().startswith(b'"Num_Acc";"id_usager"')


def test_directory_without_a_year(tmp_path: Path) -> None:
    """No file, or no directory: one sentence with what was searched, and where."""
    with pytest.raises(SourceError, match=r"no complete year in .*: looked for caract…-YYYY.csv, .* no such file"):
        DirectorySource(str(tmp_path)).years()
    with pytest.raises(SourceError, match="does not exist; give a directory or URL"):
        DirectorySource(str(tmp_path / "nowhere")).years()


def test_web_directory(site: Site) -> None:
    """Index pages as web servers make them: links followed downwards only, files streamed, changed files noticed."""
    site.answers["/baac/"] = body(b'<a href="../">up</a><a href="2023/">2023/</a><a href="https://other/x.csv">x</a>')
    links = "".join(f'<a href="{name}">{name}</a>' for name in NAMES[2023])
    site.answers["/baac/2023/"] = body(links.encode())
    site.answers["/baac/2023/lieux-2023.csv"] = body(b"rows")
    source = DirectorySource(site.url("/baac"), Downloader(trusted={site.host}, sleep=lambda _: None))
    assert source.years() == [2023]
    got = source.fetch(2023, "lieux")
    assert (got.stream.read(), got.url) == (b"rows", site.url("/baac/2023/lieux-2023.csv"))
    got.stream.close()
    assert "/" not in site.asked


def test_fsspec_url() -> None:
    """Any fsspec URL is a directory."""
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in NAMES[2021]:
        memory.pipe(f"/lake/deep/{name}", b"x")
    source = DirectorySource("memory://lake")
    assert source.years() == [2021]
    with source.fetch(2021, "vehicules").stream as stream:
        assert stream.read() == b"x"
    memory.rm("/lake", recursive=True)


def test_directory_fingerprint_follows_a_correction(tmp_path: Path) -> None:
    """A file written again is a corrected year."""
    for name in NAMES[2023]:
        (tmp_path / name).write_bytes(b"x")
    before = DirectorySource(str(tmp_path)).fingerprint(2023)
    (tmp_path / NAMES[2023][0]).write_bytes(b"longer")
    assert DirectorySource(str(tmp_path)).fingerprint(2023) != before


def test_sample_source_by_settings() -> None:
    """Years and size by setting; any other past year can be fetched, future ones cannot."""
    source = open_source(Settings.load(accidents_sample_years="2019,2022-2023", accidents_sample_people=100))
    assert isinstance(source, SampleSource)
    assert source.years() == [2019, 2022, 2023]
    with source.fetch(2007, "usagers").stream as stream:
        assert stream.read(7) == b"Num_Acc"
    with pytest.raises(SourceError, match=r"sample data is .* of 2005 to"):
        source.fetch(2200, "usagers")


@pytest.mark.parametrize("text", ["", "2024-2020", "1999", "20x4", "2020;2021"])
def test_wrong_sample_years(text: str) -> None:
    """A wrong list of years is refused with the rule."""
    with pytest.raises(ValueError, match="year"):
        parse_years(text)


def test_api_that_is_down_corrects_nothing(listed: Site, tmp_path: Path) -> None:
    """Without the API corrections are unknown: stored years are kept until it lists one."""
    store = open_store(tmp_path.as_uri())
    for table in TABLES:
        fetch_raw_file(store, _source(listed), 2023, table)
    up = dict(listed.answers)
    for year in range(2019, 2027):
        listed.answers[_edition(year)] = body(b"oops", 500)
    down = _source(listed)
    assert not down.is_current()
    assert [change.year for change in find_changed_years(store, down)] == [2019, 2020, 2021, 2022]
    listed.answers.clear()
    listed.answers.update(up)
    assert [change.year for change in find_changed_years(store, _source(listed))] == [2016, 2021]
    record, fetched = fetch_raw_file(store, _source(listed), 2023, "usagers")
    assert (record.name, fetched) == ("usagers-2023.csv", False)
