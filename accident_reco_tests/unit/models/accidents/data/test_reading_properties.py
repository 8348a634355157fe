"""Random files, intact and damaged: every row is read or refused, and every damage is reported with its line."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accident_reco.models.accidents.codebook import FIELDS, TABLES
from accident_reco.models.accidents.data.adapters import read_canonical
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.reading import UnreadableFile, decode, read_table, repair_double_encoding
from accident_reco.models.accidents.data.schema import COLUMNS
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.sample.cells import format_degrees, format_ids, format_padded
from accident_reco_tests.support.baac import ROWS, is_balanced, text, year

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Text that a BAAC cell can hold: anything on one line, but control characters.
CELL = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), max_size=12)
SAMPLE = {2024: sample_year(2024, 60), 2016: sample_year(2016, 60), 2018: sample_year(2018, 60)}


def _cell(name: str) -> st.SearchStrategy[str]:
    """A published cell of a field: a code, a number in range, or a notation of missing values."""
    field = FIELDS[name]
    nothing = st.sampled_from(["", " -1", "-1", "N/A", "."])
    if field.codes is not None:
        letters = {10: "A", 11: "B"} if name == "actp" else {}
        return st.sampled_from(list(field.codes)).map(lambda code: letters.get(code, str(code))) | nothing
    if name == "hrmn":
        return st.times().map(lambda time: f"{time.hour:02d}:{time.minute:02d}")
    if name in ("dep", "com"):
        return st.sampled_from(["75", "2A", "01", "974"] if name == "dep" else [""])
    if field.kind == "text":
        return CELL | nothing
    if field.kind == "real":
        return st.floats(field.low, field.high).map(lambda value: f"{value:.6f}".replace(".", ",")) | nothing
    return st.integers(int(field.low or 0), int(field.high or 0)).map(str) | nothing


@QUICK
@given(data=st.data(), table=st.sampled_from(TABLES))
def test_valid_values_survive(data: st.DataObject, table: str) -> None:
    """Every valid cell is read as its value, and nothing is reported."""
    names = [name for name in ROWS[table][0] if name != "Num_Acc"]
    rows = data.draw(st.lists(st.tuples(*(_cell(name) for name in names)), min_size=1, max_size=8))
    published = [{"Num_Acc": str(202300000001 + n), **dict(zip(names, row, strict=True))} for n, row in enumerate(rows)]
    communes = {"75": "75101", "2A": "2A004", "01": "01004", "974": "97411"}
    for cells in published:
        if "com" in cells:
            cells["com"] = communes.get(cells["dep"], cells["com"])
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ["Num_Acc", *names], delimiter=";", quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(published)
    notes = Quarantine(2023)
    read = read_canonical(buffer.getvalue().encode(), table, "x.csv", notes)
    assert [row for row in notes.rows if row[5] != "an"] == []
    assert len(read) == len(rows)
    for name in names:
        field = FIELDS[name]
        for got, row in zip(read.columns[name], published, strict=True):
            cell = row[name].strip()
            if name in ("an", "hrmn") or field.kind == "text":
                continue
            if cell in ("", "-1", "N/A", "."):
                assert got == -1 or np.isnan(got)
            elif field.codes is not None:
                assert got == {"A": 10, "B": 11}.get(cell, int(cell) if cell not in "AB" else -1)
            else:
                assert float(got) == pytest.approx(float(cell.replace(",", ".")))


@QUICK
@given(
    rows=st.lists(st.lists(CELL, min_size=16, max_size=16), min_size=1, max_size=6),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    final=st.booleans(),
)
def test_encodings_and_line_ends(rows: list[list[str]], encoding: str, newline: str, final: bool) -> None:
    """BOM, UTF-16, CRLF, a missing final newline: the rows are the same."""
    header = COLUMNS["usagers"]
    lines = [";".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row) for row in [list(header), *rows]]
    data = (newline.join(lines) + (newline if final else "")).encode(encoding)
    notes = Quarantine()
    read = read_table(data, "usagers", "x.csv", notes)
    assert notes.rows == []
    assert read.rows_in == len(read.line) == len(rows)
    for position, name in enumerate(header):
        assert read.columns[name].to_pylist() == [row[position] for row in rows]


@QUICK
@given(data=st.binary(max_size=400))
def test_random_bytes_are_unreadable(data: bytes) -> None:
    """Bytes that are no table are reported as an unreadable file."""
    with pytest.raises(UnreadableFile, match=r"x.csv line 1: this is not a lieux file"):
        read_table(data, "lieux", "x.csv", Quarantine())


@QUICK
@given(
    which=st.sampled_from([2024, 2016, 2018]),
    table=st.sampled_from(TABLES),
    place=st.floats(0, 0.999),
    damage=st.sampled_from([b"\0", b'"', b";", b",", b"\n", b"\xff", b"9", b"", b"\t", "é".encode()]),
    cut=st.integers(0, 3),
)
def test_damaged_byte_never_loses_a_row(which: int, table: str, place: float, damage: bytes, cut: int) -> None:
    """A byte lost, doubled or changed anywhere: every line is read or refused, or the file is unreadable."""
    files = dict(SAMPLE[which])
    good = files[table].data
    at = int(place * len(good))
    data = good[:at] + damage + good[at + cut :]
    files[table] = RawFile(files[table].name, data)
    try:
        built = build_victims(files, which)
    except UnreadableFile:
        return
    for name, count in built.counts.items():
        assert is_balanced(count), (name, count)
    lines = [line for line in decode(data)[0].split(b"\n")[1:] if line]
    assert built.counts[table].rows_in == len(lines)
    assert len(built.victims) == built.counts["usagers"].rows_out
    quarantine = built.quarantine
    assert (quarantine.line >= 1).all()
    assert quarantine.message.str.contains(" line ").all()
    assert (quarantine.way_out != "").all()


@QUICK
@given(data=st.data())
def test_any_cell_of_any_row(data: st.DataObject) -> None:
    """Any text in any cell: no row is lost without a note with its line and text."""
    table = data.draw(st.sampled_from(TABLES))
    row = data.draw(st.integers(0, len(ROWS[table]) - 1))
    column = data.draw(st.sampled_from(list(ROWS[table][0])))
    cell = data.draw(CELL.filter(lambda value: '"' not in value) | st.integers(-5, 10**13).map(str))
    built = build_victims(year({(table, row, column): cell}), 2023)
    assert all(is_balanced(count) for count in built.counts.values())
    refused = built.quarantine[built.quarantine.disposition == "refused"]
    assert (refused.raw != "").all()
    for name, field in FIELDS.items():
        if field.codes is not None and name in built.victims:
            assert set(built.victims[name]) <= {-1, *field.codes}
    assert set(built.victims.grav) <= {1, 2, 3, 4}


def test_damaged_lines_are_reported_with_their_number() -> None:
    """Several kinds of damage in one file: each is reported with its physical line, the rest is read."""
    lines = text(ROWS["usagers"]).split("\n")
    damaged = [
        lines[0],
        lines[1].replace("1978", "19\x0078"),
        "",
        lines[2] + ';"too";"many"',
        lines[3],
        lines[4].replace('"2015"', '"2015'),
    ]
    built = build_victims(year(usagers="\n".join(damaged).encode()), 2023)
    reported = {(note.rule, note.line) for note in built.quarantine.itertuples()}
    assert reported == {("nul_byte", 2), ("ragged_row", 4), ("stray_quote", 6)}
    assert len(built.victims) == 2
    assert (built.counts["usagers"].rows_in, built.counts["usagers"].refused) == (4, 2)
    ragged = built.quarantine[built.quarantine.rule == "ragged_row"].iloc[0]
    assert ragged.message == ("usagers-2023.csv line 4: has 18 fields where the header has 16; row kept in quarantine.")
    assert ragged.raw.endswith('"too";"many"')


def test_latin1_and_mixed_encodings() -> None:
    """Old files are Windows-1252; one stray byte in a UTF-8 file does not turn the others into mojibake."""
    assert decode("RÉPUBLIQUE\n".encode("cp1252")) == ("RÉPUBLIQUE\n".encode(), [])
    mixed = "É\u00a0É\nÀ".encode() + b"\xc9" + "\nÉ".encode()
    assert decode(mixed) == ("É\u00a0É\nÀÉ\nÉ".encode(), [2])


def test_letters_that_were_encoded_twice() -> None:
    """UTF-8 read as Windows-1252 and saved again is restored line by line; a real capital with an accent stays."""
    lines = ["RUE DE LA PÂTURE", "RUE DE L’ÉGLISE À L'ÉTANG", "155\u00a0680", "PÃO", "ÂGE"]
    once = "\n".join(lines).encode()
    twice = b"\n".join(line if n in (0, 3, 4) else _twice(line) for n, line in enumerate(once.split(b"\n")))
    assert twice != once
    assert repair_double_encoding(twice) == (once, [2, 3])
    assert repair_double_encoding(once) == (once, [])


def _twice(line: bytes) -> bytes:
    return "".join(
        bytes([byte]).decode("cp1252" if byte not in b"\x81\x8d\x8f\x90\x9d" else "latin-1") for byte in line
    ).encode()


def test_unknown_column_is_reported_and_skipped() -> None:
    """A column that no year has is reported; the others are read."""
    lines = [line + ';"x"' if n else line + ';"meteo"' for n, line in enumerate(text(ROWS["lieux"]).split("\n"))]
    built = build_victims(year(lieux="\n".join(lines).encode()), 2023)
    assert built.quarantine.message.tolist() == [
        "lieux-2023.csv line 1: has a column 'meteo' that no lieux file has; column not read."
    ]


def test_repeated_column_is_unreadable() -> None:
    """Two columns of one name may have different values; neither is chosen."""
    lines = text(ROWS["lieux"]).replace('"voie"', '"catr"', 1)
    with pytest.raises(UnreadableFile, match="the header names catr twice; remove one of the two columns"):
        build_victims(year(lieux=lines.encode()), 2023)


@QUICK
@given(values=st.lists(st.floats(-90, 90), min_size=1, max_size=5), ids=st.integers(0, 999_999_999))
def test_cells_of_samples(values: list[float], ids: int) -> None:
    """Decimal commas and grouped ids as the generator writes them are what the reader reads."""
    written = format_degrees(np.array(values)).to_pylist()
    assert [float(cell.replace(" ", "").replace(",", ".")) for cell in written] == pytest.approx(values, abs=1e-6)
    assert int(format_ids(np.array([ids])).to_pylist()[0].replace("\u00a0", "")) == ids
    assert format_padded(np.array([7]), 3).to_pylist() == ["007"]
