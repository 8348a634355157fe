"""Directories as people have them: names, folders, links, compressed files, several years in one file."""

from __future__ import annotations

import gzip
import io
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.several_years import count_years, select_year
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.sources import SourceError
from accident_reco.models.accidents.sources.directory import DirectorySource

YEARS = {year: sample_year(year, 40) for year in (2016, 2018, 2021, 2022)}
FILES = YEARS[2022]


def _read(source: DirectorySource, year: int) -> pd.DataFrame:
    files = {}
    for table in TABLES:
        fetched = source.fetch(year, table)
        with fetched.stream as stream:
            files[table] = RawFile(fetched.name, stream.read())
    return build_victims(files, year).victims


def _expected(year: int) -> pd.DataFrame:
    return build_victims(YEARS[year], year).victims


def _url(source: DirectorySource) -> str:
    fetched = source.fetch(2022, "lieux")
    fetched.stream.close()
    return fetched.url


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return stream.getvalue()


DATA = {table: file.data for table, file in FILES.items()}
ACCENTS = ["Caractéristiques 2022.csv", "LIEUX_2022.CSV", "Véhicules-2022 (1).csv", "usagers 2022 - Copie.csv"]
PLACES: dict[str, dict[str, bytes]] = {
    "accents": dict(zip(ACCENTS, DATA.values(), strict=True)),
    "decomposed": {unicodedata.normalize("NFD", name): data for name, data in zip(ACCENTS, DATA.values(), strict=True)},
    "folder of the year": {f"baac/2022/{table}.csv": data for table, data in DATA.items()},
    "year first": {f"2022_{table}.csv": data for table, data in DATA.items()},
    "gzip": {f"{table}-2022.csv.gz": gzip.compress(data) for table, data in DATA.items()},
    "gzip of two streams": {
        f"{table}-2022.csv.gz": gzip.compress(data[:99]) + gzip.compress(data[99:]) for table, data in DATA.items()
    },
    "a zip each": {f"{table}-2022.zip": _zip({"export.csv": data}) for table, data in DATA.items()},
    "one zip": {"accidents.zip": _zip({f"in/{table}-2022.csv": data for table, data in DATA.items()})},
    "zip of the year": {"2022.zip": _zip({f"{table}.csv": data for table, data in DATA.items()})},
    "zip of a Mac": {
        "2022.zip": _zip(
            {f"{table}.csv": data for table, data in DATA.items()} | {"__MACOSX/._usagers.csv": b"\0\5\x16\7"}
        )
    },
    "no year at all": {f"{table}.csv": data for table, data in DATA.items()},
}


@pytest.mark.parametrize("place", list(PLACES))
def test_every_name_is_the_same_year(tmp_path: Path, place: str) -> None:
    """The year is found and read as if its files had the publisher's names."""
    for name, data in PLACES[place].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    source = DirectorySource(str(tmp_path))
    assert source.years() == [2022]
    assert source.notes() == []
    pd.testing.assert_frame_equal(_read(source, 2022), _expected(2022))
    assert source.fingerprint(2022) == DirectorySource(str(tmp_path)).fingerprint(2022)


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    """A folder that is a link, one that leads back to its parent, and a link to nothing."""
    elsewhere = tmp_path / "disk" / "2022"
    elsewhere.mkdir(parents=True)
    for table, data in DATA.items():
        (elsewhere / f"{table}.csv").write_bytes(data)
    place = tmp_path / "place"
    place.mkdir()
    (place / "2022").symlink_to(elsewhere, target_is_directory=True)
    (place / "again").symlink_to(place, target_is_directory=True)
    (place / "usagers-2021.csv").symlink_to(tmp_path / "gone.csv")
    source = DirectorySource(str(place))
    assert source.years() == [2022]
    (note,) = source.notes()
    assert note.endswith("usagers-2021.csv is not read: it is a link to a file that does not exist")
    pd.testing.assert_frame_equal(_read(source, 2022), _expected(2022))


def _merged(table: str, *years: int) -> bytes:
    """Files of years of one layout one after another, as a person puts them together."""
    first, *others = (YEARS[year][table].data for year in years)
    return b"\n".join([first.rstrip(b"\r\n"), *(data.split(b"\n", 1)[1].rstrip(b"\r\n") for data in others)])


@pytest.mark.parametrize("name", ["{}_2021_2022.csv", "{}.csv", "2019-2023/{}.csv"])
def test_several_years_in_one_file(tmp_path: Path, name: str) -> None:
    """Split by the years of the rows, with the line numbers of the file."""
    for table in TABLES:
        path = tmp_path / name.format(table)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_merged(table, 2021, 2022).replace(b"carcteristiques", b"x"))
    source = DirectorySource(str(tmp_path))
    assert source.years() == [2021, 2022]
    for year in (2021, 2022):
        pd.testing.assert_frame_equal(_read(source, year), _expected(year))
    assert _url(source).endswith("#2022")


def test_a_year_of_its_own_is_preferred(tmp_path: Path) -> None:
    """The file of one year is read where one of several years has it too, and that is told."""
    for table in TABLES:
        (tmp_path / f"{table}_2021_2022.csv").write_bytes(_merged(table, 2021, 2022))
        (tmp_path / f"{table}-2022.csv").write_bytes(DATA[table])
    source = DirectorySource(str(tmp_path))
    assert source.years() == [2021, 2022]
    assert _url(source).endswith("lieux-2022.csv")
    assert "2022: lieux-2022.csv is read, lieux_2021_2022.csv is not" in source.notes()


def test_lines_of_a_year_keep_their_numbers() -> None:
    """Invalid lines stay with the year before them; every line of the file is in exactly one year."""
    lines = _merged("vehicules", 2021, 2022).split(b"\n")
    lines.insert(3, b"not a row")
    lines.insert(len(lines) - 2, b"")
    data = b"\n".join(lines)
    counts = count_years(data, "vehicules", "v.csv")
    assert list(counts) == [2021, 2022]
    parts = {year: select_year(data, "vehicules", "v.csv", year).split(b"\n") for year in counts}
    for number, line in enumerate(lines):
        found = [year for year, part in parts.items() if part[number] and number]
        assert found == ([] if not line or not number else [2022 if b'"2022' in line[:6] else 2021]), number
        assert all(part[number] in (b"", line) for part in parts.values())
    assert parts[2021][0] == parts[2022][0] == lines[0]


def test_content_of_several_years_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """The years of a file are remembered by its size and time."""
    for table in TABLES:
        (tmp_path / f"{table}.csv").write_bytes(DATA[table])
    assert DirectorySource(str(tmp_path)).years() == [2022]
    for table in TABLES:
        (tmp_path / f"{table}.csv").write_bytes(_merged(table, 2021, 2022))
    assert DirectorySource(str(tmp_path)).years() == [2021, 2022]


def test_near_misses_are_listed_with_what_was_expected(tmp_path: Path) -> None:
    """Files that somebody takes for yearly files, each with the name that it would need; others are not named."""
    names = ["usager-2022.csv", "véhicules-2022.xlsx", "caracteristic_data.csv", "README.md", "._lieux-2022.csv"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "lieux-2022.zip").write_bytes(b"PK no zip")
    with pytest.raises(SourceError) as error:
        DirectorySource(str(tmp_path)).years()
    message = str(error.value)
    assert "usager-2022.csv is not read: its name is not that of a yearly file; expected is usagers-YYYY.csv" in message
    assert "is not a CSV file; save it as vehicules-YYYY.csv" in message
    assert "caracteristic_data.csv is not read" in message
    assert "lieux-2022.zip is not a valid zip: File is not a zip file; it is not read" in message
    assert "README" not in message
    assert "._lieux" not in message


def test_damaged_and_hostile_archives(tmp_path: Path) -> None:
    """Half a gzip file, and one that unpacks to a thousand times its size, are one sentence each."""
    for table, data in DATA.items():
        (tmp_path / f"{table}-2022.csv.gz").write_bytes(gzip.compress(data))
    (tmp_path / "lieux-2022.csv.gz").write_bytes(gzip.compress(DATA["lieux"])[:-20])
    (tmp_path / "usagers-2022.csv.gz").write_bytes(gzip.compress(b"0" * 30_000_000))
    source = DirectorySource(str(tmp_path))
    with pytest.raises(SourceError, match=r"lieux-2022\.csv\.gz is not a complete gzip file: it ends early"):
        source.fetch(2022, "lieux")
    with pytest.raises(SourceError, match=r"usagers-2022\.csv\.gz unpacks to more than [\d,]+ bytes"):
        source.fetch(2022, "usagers")


def test_unreadable_file_of_several_years_is_noted(tmp_path: Path) -> None:
    """A file without a year in its name whose header is another one's: named, with the reason."""
    for table, data in DATA.items():
        (tmp_path / f"{table}-2022.csv").write_bytes(data)
    (tmp_path / "usagers.csv").write_bytes(b"user,name\n1,x\n")
    for _ in range(2):  # also from memory
        (note,) = DirectorySource(str(tmp_path)).notes()
    assert note.startswith("usagers.csv is not read: usagers.csv line 1: this is not a usagers file: no column Num_Acc")


def test_location_that_is_a_zip(tmp_path: Path) -> None:
    """A zip instead of a directory."""
    path = tmp_path / "baac.zip"
    path.write_bytes(_zip({f"{table}-2022.csv": data for table, data in DATA.items()}))
    source = DirectorySource(str(path))
    assert source.years() == [2022]
    assert len(_read(source, 2022)) == len(_expected(2022)) > 0
    assert np.array_equal(_read(source, 2022).Num_Acc, _expected(2022).Num_Acc)
