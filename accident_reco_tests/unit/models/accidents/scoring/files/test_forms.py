"""Forms of a scored file (gzip, zip, Parquet, the four tables) and of its answer; bounds of unpacking."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from accident_reco.models.accidents.assets.scoring import score_road_users
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.scoring.files.answers import COLUMNS, WRITERS, escape_formula, write_answer
from accident_reco.models.accidents.scoring.files.limits import FileLimits, UnscorableFile
from accident_reco.models.accidents.scoring.files.score import score_paths
from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco_tests.support.flat_files import (
    CountingScorer,
    join_columns,
    join_tables,
    parse_rows,
    score_csv,
    write_csv,
)
from accident_reco_tests.support.real_accidents import real_bundle

SCORER = AccidentScorer.from_files(real_bundle().files)
FILES = sample_year(2023, 400)
FLAT = write_csv(join_tables(FILES))


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def to_parquet(data: bytes, **types: pa.DataType) -> bytes:
    """A CSV as Parquet with the types that a reader guesses, as people save it."""
    convert = pacsv.ConvertOptions(column_types=types)
    table = pacsv.read_csv(io.BytesIO(data), parse_options=pacsv.ParseOptions(delimiter=";"), convert_options=convert)
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def score(folder: Path, scorer: object = SCORER, limits: FileLimits | None = None, **files: bytes) -> dict[str, list]:
    """Answer to files of these names (with `_` for the dot) and contents."""
    paths = []
    for name, data in files.items():
        paths.append(folder / name.replace("__", "."))
        paths[-1].write_bytes(data)
    return join_columns(score_paths(paths, scorer, limits))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        lambda data: gzip.compress(data[:5_000]) + gzip.compress(data[5_000:]),
        lambda data: zipped({"folder/people.csv": data, "__MACOSX/._people.csv": b"x"}),
        lambda data: zipped({"people.csv.gz": gzip.compress(data)}),
        to_parquet,
        lambda data: to_parquet(data, an_nais=pa.float64(), hrmn=pa.time32("s"), catu=pa.float32()),
        lambda data: zipped({"people.parquet": to_parquet(data)}),
    ],
    ids=["gzip", "gzip-members", "zip", "gzip-in-zip", "parquet", "parquet-types", "parquet-in-zip"],
)
def test_forms_of_one_file(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """The same rows in any form have the same answer: lines, probabilities, context, notes."""
    expected, found = join_columns(score_csv(FLAT, SCORER)), score(tmp_path, file=pack(FLAT))
    for name in ("line", "Num_Acc", "probability", "severity", "context", "error"):
        assert found[name] == expected[name], name
    assert len(found["notes"]) == len(expected["notes"])


def test_four_tables_are_scored_like_the_year(tmp_path: Path) -> None:
    """Bit for bit the batch scores of ingestion; vehicles without users count; as files, zip, gzip and Parquet."""
    victims = build_victims(FILES, 2023).victims
    expected = score_road_users(SCORER, victims, "v")["probability"].tolist()
    tables = {f"{table}__csv": file.data for table, file in FILES.items()}
    as_files = score(tmp_path, **tables)
    assert as_files["probability"] == expected
    assert as_files["line"] == list(range(2, len(expected) + 2))
    assert set(as_files["context"]) == {"full"}
    assert as_files["id_usager"] == [row["id_usager"] for row in parse_rows(FILES["usagers"].data)]
    for packed in (
        {"year__zip": zipped({f"2023/{name}": data for name, data in tables.items()})},
        {f"{name}__gz": gzip.compress(data) for name, data in tables.items()},
        {name: to_parquet(data) for name, data in tables.items()},
    ):
        assert score(tmp_path, **packed)["probability"] == expected


def test_all_road_users_of_the_four_tables_are_scored(tmp_path: Path) -> None:
    """Unknown severity (or no column of it), an accident that is missing, a vehicle that is missing: still scored."""
    rows = {table: parse_rows(file.data) for table, file in FILES.items()}
    users = rows["usagers"]
    lost, walker = users[0]["Num_Acc"], next(row for row in users[10:] if row["catu"] == "1")
    rows["caracteristiques"] = [row for row in rows["caracteristiques"] if row["Num_Acc"] != lost]
    walker["id_vehicule"] = walker["num_veh"] = "ZZ"
    names = [name for name in users[0] if name != "grav"]
    tables = {f"{table}__csv": write_csv(some) for table, some in rows.items()}
    answer = score(tmp_path, **tables | {"usagers__csv": write_csv(users, names)})
    assert answer["error"] == [""] * len(users)
    partial = {number for number, one in zip(answer["Num_Acc"], answer["context"], strict=True) if one == "partial"}
    assert partial == {lost, walker["Num_Acc"]}


def test_notes_of_the_four_tables(tmp_path: Path) -> None:
    """What was read as unknown or repaired is noted on the lines of its road users, whichever table it is in."""
    rows = {table: parse_rows(file.data) for table, file in FILES.items()}
    user, number = rows["usagers"][3], rows["usagers"][3]["Num_Acc"]
    user["sexe"] = "7"
    for road in rows["lieux"]:
        if road["Num_Acc"] == number:
            road["nbv"], road["vma"] = "0", "900"
    answer = score(tmp_path, **{f"{table}__csv": write_csv(some) for table, some in rows.items()})
    assert answer["notes"][3].split(" | ")[0] == "sexe = 7 is not in {1, 2}; read as unknown"
    for one, notes in zip(answer["Num_Acc"], answer["notes"], strict=True):
        assert ("lieux: nbv = 0 is not filled in; read as unknown" in notes) == (one == number)
        assert ("lieux: vma = 900 is ten times a usual limit" in notes) == (one == number)


def _tables(**changed: bytes) -> dict[str, bytes]:
    return {f"{table}__csv": file.data for table, file in FILES.items()} | changed


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({k: v for k, v in _tables().items() if k != "lieux__csv"}, "missing-table"),
        (_tables(vehicules__csv=FILES["lieux"].data), "two-of-a-table"),
        (_tables(lieux__csv=b"a;b\n1;2\n"), "unknown-table"),
        (_tables(lieux__csv=FLAT), "unknown-table"),
        (_tables(usagers__csv=FILES["usagers"].data.replace(b"202300000001", b"2,023E+11", 1)), "unreadable-table"),
        ({"a__zip": b"PK\x03\x04" + b"x" * 100}, "damaged-file"),
        ({"a__zip": zipped({})}, "no-header"),
        ({"a__zip": zipped({f"{n}.csv": b"catu\n1\n" for n in range(17)})}, "too-many-files"),
        ({"a__zip": zipped({"a/x.csv": b"catu\n1\n", "b/x.csv": b"catu\n1\n"})}, "two-of-a-name"),
        ({"a__gz": gzip.compress(FLAT)[:-100]}, "damaged-file"),
        ({"a__gz": b"\x1f\x8bxxxx"}, "damaged-file"),
        ({"a__parquet": b"PAR1" + b"x" * 100}, "damaged-file"),
    ],
)
def test_files_that_cannot_be_scored(files: dict[str, bytes], kind: str, tmp_path: Path) -> None:
    """Each is refused as a whole, by its cause."""
    with pytest.raises(UnscorableFile) as caught:
        score(tmp_path, **files)
    assert caught.value.kind == kind
    assert not caught.value.is_too_large or kind == "too-many-files"


def _bomb_of_zips() -> bytes:
    return zipped({"people.csv": b"catu\n" + b"1" * 4_000_000})


@pytest.mark.parametrize(
    ("data", "limits", "kind"),
    [
        (gzip.compress(b"catu\n" + b"1\n" * 4_000_000), FileLimits(), "compressed-too-much"),
        (_bomb_of_zips(), FileLimits(), "compressed-too-much"),
        (gzip.compress(FLAT), FileLimits(unpacked_bytes=10_000), "unpacked-too-large"),
        (zipped({"people.csv": FLAT}), FileLimits(published_bytes=10_000), "unpacked-too-large"),
        (zipped({"people.csv.gz": gzip.compress(FLAT)}), FileLimits(published_bytes=60_000), "unpacked-too-large"),
        (to_parquet(FLAT), FileLimits(unpacked_bytes=10_000), "unpacked-too-large"),
        (to_parquet(FLAT), FileLimits(rows=100), "too-many-rows"),
        (FLAT, FileLimits(rows=100), "too-many-rows"),
        (zipped({name: file.data for name, file in FILES.items()}), FileLimits(rows=100), "too-many-rows"),
    ],
)
def test_unpacking_is_bounded(data: bytes, limits: FileLimits, kind: str, tmp_path: Path) -> None:
    """Bombs and files over a limit: refused by what was counted, whatever the file declares."""
    with pytest.raises(UnscorableFile) as caught:
        score(tmp_path, limits=limits, file=data)
    assert (caught.value.kind, caught.value.is_too_large) == (kind, True)


def test_sizes_that_a_zip_declares_are_not_believed(tmp_path: Path) -> None:
    """A member that says that it is small and is not."""
    data = bytearray(zipped({"people.csv": FLAT}))
    declared = len(FLAT).to_bytes(4, "little")
    assert data.count(declared) == 2
    with pytest.raises(UnscorableFile):
        score(tmp_path, file=bytes(data.replace(declared, (100).to_bytes(4, "little"))))


def test_nested_columns_of_parquet_are_refused(tmp_path: Path) -> None:
    """A list is neither a number nor a text."""
    out = io.BytesIO()
    pq.write_table(pa.table({"catu": [[1], [2]]}), out)
    with pytest.raises(UnscorableFile, match="catu is nested"):
        score(tmp_path, file=out.getvalue())


def test_answers_in_three_forms() -> None:
    """CSV, JSON lines and Parquet have the same rows: answers, notes, errors, and no value where there is none."""
    data = b"Num_Acc;id_usager;catu\n202400000001;=cmd();1\n1\n;;9\n"
    written = {}
    for media_type, writer in WRITERS.items():
        out = io.BytesIO()
        assert write_answer(iter(score_csv(data, CountingScorer())), writer(), out) == 3
        written[media_type] = out.getvalue()
    csv_rows = parse_rows(written["text/csv"])
    assert [row["id_usager"] for row in csv_rows] == ["'=cmd()", "", ""]
    lines = [json.loads(line) for line in written["application/x-ndjson"].splitlines()]
    table = pq.read_table(io.BytesIO(written["application/vnd.apache.parquet"]))
    assert table.column_names == list(COLUMNS) == list(lines[0]) == list(csv_rows[0])
    assert table.to_pylist() == lines
    assert lines[0] | {"prediction_id": ""} == {
        **dict.fromkeys(COLUMNS),
        "line": 2,
        "Num_Acc": "202400000001",
        "id_usager": "=cmd()",
        "prediction_id": "",
        "probability": 0.5,
        "severity": "grave",
        "uncertain": False,
        "context": "partial",
        "notes": "",
    }
    assert (lines[1]["probability"], lines[1]["error"]) == (None, "the line has 1 fields, the header 3")
    assert lines[2]["notes"] == csv_rows[2]["notes"] == "catu = 9 is not in {1, 2, 3}; read as unknown"


def test_formulas_are_escaped() -> None:
    """Numbers and text stay, formulas get an apostrophe."""
    cells = ("=1", "+1", "-1,5", "-a", "@x", "\tx", "\uff1d1", "abc", "")
    assert [escape_formula(c) for c in cells] == ["'=1", "+1", "-1,5", "'-a", "'@x", "'\tx", "'\uff1d1", "abc", ""]


def test_old_files_of_joined_tables() -> None:
    """The layout until 2018 is read as such: decimetres, coordinates times 100,000, departments, `secu`."""
    row = {
        "Num_Acc": "201300000001",
        "an": "13",
        "catu": "1",
        "secu": "11",
        "larrout": "61",
        "dep": "590",
        "com": "350",
    }
    row |= {"lat": "5061000", "long": "306100", "hrmn": "745"}
    (scored,) = score_csv(write_csv([row], delimiter=","), CountingScorer())
    columns, texts = scored.rows.columns, scored.rows.texts
    assert (columns["larrout"][0], columns["an"][0], columns["secu1"][0], columns["hrmn"][0]) == (6.1, 2013, 1, 745)
    assert (texts["dep"].to_pylist(), texts["com"].to_pylist()) == (["59"], ["59350"])
    assert np.allclose([columns["lat"][0], columns["long"][0]], [50.61, 3.061])


@pytest.mark.slow
def test_every_person_of_the_published_files(baac_dir: Path, tmp_path: Path) -> None:
    """January to September 2024: 93,686 people, no error, every probability that of ingestion."""
    paths = sorted((baac_dir / "2024").glob("*.csv"))
    names = {"caract": "caracteristiques"}
    files = {names.get(p.name.split("-")[0], p.name.split("-")[0]): RawFile(p.name, p.read_bytes()) for p in paths}
    victims = build_victims(files, 2024).victims
    expected = SCORER.probability({name: victims[name].to_numpy() for name in victims.columns})
    four = join_columns(score_paths(paths, SCORER))
    assert (len(four["line"]), set(four["error"]), set(four["context"])) == (93_686, {""}, {"full"})
    assert np.array_equal(four["probability"], expected)
    flat = tmp_path / "people.csv"
    flat.write_bytes(write_csv(join_tables(files)))
    one = join_columns(score_paths([flat], SCORER))
    assert (len(one["line"]), set(one["error"]), set(one["context"])) == (93_686, {""}, {"full"})
    has_users = victims.groupby("Num_Acc")["id_vehicule"].transform("nunique") == victims["nb_vehicles"]
    assert np.array_equal(np.array(one["probability"])[has_users], expected[has_users])
    assert sum(map(bool, one["notes"])) > 3_000


def test_frames_saved_by_pandas() -> None:
    """A re-save as floats with `nan`: the same probabilities as the file as published."""
    frame = pd.read_csv(io.BytesIO(FLAT), sep=";", na_values=[" -1", "-1"])
    saved = frame.to_csv(index=False, na_rep="nan").encode()
    first, second = (join_columns(score_csv(data, SCORER)) for data in (FLAT, saved))
    assert second["probability"] == first["probability"]
    assert set(second["context"]) == {"full"}
