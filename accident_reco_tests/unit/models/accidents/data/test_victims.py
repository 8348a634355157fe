"""The merge of four files to one row per road user: none lost or duplicated, every invalid value reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.reading import UnreadableFile
from accident_reco.models.accidents.data.schema import COLUMNS, VICTIM_COLUMNS, get_dtype
from accident_reco.models.accidents.data.victims import AccidentYear, RawFile, build_victims
from accident_reco.models.accidents.sample import sample_year
from accident_reco_tests.support.baac import USAGERS, is_balanced, text, year


@pytest.fixture(scope="module")
def real(baac_dir: Path) -> AccidentYear:
    stems = dict(zip(TABLES, ("caract", "lieux", "vehicules", "usagers"), strict=True))
    files = {
        table: RawFile(f"{stem}-2024.csv", (baac_dir / "2024" / f"{stem}-2024.csv").read_bytes())
        for table, stem in stems.items()
    }
    return build_victims(files, 2024)


def test_one_row_per_road_user_of_2024(real: AccidentYear) -> None:
    """A join of lieux on Num_Acc alone multiplies rows: 93,686 in, 93,686 out, in the order of the file."""
    assert {name: (count.rows_in, count.rows_out) for name, count in real.counts.items()} == {
        "caracteristiques": (40748, 40748),
        "lieux": (52789, 52789),
        "vehicules": (69511, 69511),
        "usagers": (93686, 93686),
    }
    assert len(real.victims) == 93686
    assert real.victims.id_usager.is_unique
    assert real.victims.grav.value_counts().to_dict() == {1: 39518, 4: 37172, 3: 14513, 2: 2483}
    assert real.victims.catv.isin([-1]).sum() <= 2  # every road user has a vehicle


def test_real_quirks(real: AccidentYear) -> None:
    """Each irregularity of the files of 2024 is converted to the canonical form, and repairs are reported."""
    counts = real.quarantine.groupby("rule").size().to_dict()
    assert counts == {
        "code": 32,  # actp 7 and 8
        "impossible_coordinates": 2,
        "out_of_range": 31,  # vma 1 to 4
        "speed_times_ten": 6,  # vma 500
        "stray_quote": 5,
        "swapped_coordinates": 7,
    }
    assert not (real.quarantine.disposition == "refused").any()
    victims = real.victims
    assert not victims.id_vehicule.str.contains(r"\s").any()
    assert victims.vma.max() == 130
    assert not victims.adr.isin(["N/A", "null", ""]).any()
    assert victims.actp.max() == 11  # the letter B
    assert victims.lat.notna().sum() == len(victims) - victims.lat.isna().sum() > 93_000
    assert (victims.sexe == -1).sum() == 1764
    assert victims.lartpc.notna().sum() > 0


def test_types(real: AccidentYear) -> None:
    """Codes are int16 with -1, Num_Acc int64, reals float64: every reader may rely on it."""
    assert list(real.victims.columns[: len(VICTIM_COLUMNS)]) == list(VICTIM_COLUMNS)
    assert {name: str(real.victims[name].dtype) for name in VICTIM_COLUMNS} == {n: get_dtype(n) for n in VICTIM_COLUMNS}
    for frame, table in ((real.accidents, TABLES[0]), (real.places, TABLES[1]), (real.vehicles, TABLES[2])):
        assert set(COLUMNS[table]) <= set(frame.columns)


def test_main_road_of_the_crossing() -> None:
    """Two rows of lieux: the departmental road describes the accident, not the street that happens to come first."""
    built = build_victims(year(), 2023)
    first = built.victims[built.victims.Num_Acc == 202300000001]
    assert first.voie.tolist() == ["7", "7"]
    assert first.vma.tolist() == [50, 50]
    assert first.pr1.tolist() == ["2218", "2218"]
    assert built.places.principal.tolist() == [False, True, True]
    assert built.places.rang.tolist() == [1, 2, 1]
    assert built.counts["lieux"].rows_out == 3


def test_values_of_one_person() -> None:
    """NBSP ids, padded negatives, decimal commas, letters and blanks of one pedestrian on La Réunion."""
    built = build_victims(year(), 2023)
    person = built.victims.iloc[3]
    assert person.id_usager == "203851191"
    assert (person.lat, person.long) == (-20.9, 55.5)
    assert (person.actp, person.etatp, person.secu3, person.occutc) == (10, 1, -1, 12)
    assert person.adr is None
    assert (person.hrmn, person.jour, person.mois) == (1805, 12, 11)
    assert (person.lartpc, person.larrout) == (2.5, 14.0)
    assert person.nb_users == 2
    assert built.quarantine.empty


@pytest.mark.parametrize(
    ("table", "row", "column", "value", "rule", "message"),
    [
        ("usagers", 1, "grav", "7", "severity", "grav = 7 is not in {1, 2, 3, 4}; row kept in quarantine."),
        ("usagers", 1, "grav", " -1", "severity", "grav = -1 is not in {1, 2, 3, 4}; row kept in quarantine."),
        ("usagers", 0, "Num_Acc", "2023", "bad_key", "Num_Acc = 2023 is not an accident number"),
        ("usagers", 0, "Num_Acc", "202300000009", "orphan", "Num_Acc = 202300000009 is not in caracteristiques"),
        ("usagers", 2, "id_usager", "203851191", "duplicate_key", None),
        ("caracteristiques", 1, "Num_Acc", "202300000001", "duplicate_key", "Num_Acc = 202300000001 is there already"),
        ("caracteristiques", 1, "an", "2022", "wrong_year", "an = 2022 is not the year of the file (2023)"),
        ("lieux", 2, "Num_Acc", "202300000007", "orphan", "Num_Acc = 202300000007 is not in caracteristiques"),
    ],
)
def test_refused(table: str, row: int, column: str, value: str, rule: str, message: str | None) -> None:
    """A refused row is in quarantine with file, line, value, rule, remediation and its text; all rows are counted."""
    built = build_victims(year({(table, row, column): value}), 2023)
    found = built.quarantine[(built.quarantine.rule == rule) & (built.quarantine.source_table == table)]
    assert found.disposition.tolist() == ["refused"]
    note = found.iloc[0]
    assert note.line == (row + 2 if message else 5)
    assert note.message.startswith(f"{note.file} line {note.line}: ")
    assert (message or "") in note.message
    assert note.way_out
    assert note.raw.startswith('"20')
    assert all(is_balanced(count) for count in built.counts.values())
    assert built.counts[table].refused == 1


@pytest.mark.parametrize(
    ("table", "row", "column", "value", "rule", "becomes"),
    [
        ("usagers", 0, "sexe", "9", "code", -1),
        ("usagers", 0, "actp", "Z", "not_a_number", -1),
        ("usagers", 0, "an_nais", "2031", "born_later", -1),
        ("usagers", 0, "an_nais", "1886", "born_later", -1),
        ("usagers", 0, "id_vehicule", "155680599", "other_key", "155680599"),
        ("lieux", 1, "vma", "900", "speed_times_ten", 90),
        ("lieux", 1, "vma", "555", "out_of_range", -1),
        ("lieux", 1, "nbv", "2,5", "not_a_number", -1),
        ("caracteristiques", 0, "jour", "32", "out_of_range", -1),
        ("caracteristiques", 0, "hrmn", "25:00", "out_of_range", -1),
        ("caracteristiques", 0, "lat", "abc", "not_a_number", None),
        ("caracteristiques", 0, "lat", "12,5", "impossible_coordinates", None),
    ],
)
def test_repaired(table: str, row: int, column: str, value: str, rule: str, becomes: object) -> None:
    """An invalid value becomes unknown, its row is kept, and the repair is reported with line and rule."""
    built = build_victims(year({(table, row, column): value}), 2023)
    assert len(built.victims) == 4
    note = built.quarantine[built.quarantine.rule == rule].iloc[0]
    assert (note.disposition, note.line) == ("repaired", row + 2)
    found = built.victims[column].iloc[0]
    assert found == becomes or (becomes is None and np.isnan(found))


def test_zero_is_not_filled_in() -> None:
    """The description: blank, zero or a dot mean "not filled in" without a code 0. Nothing to report."""
    built = build_victims(year({("lieux", 1, "plan"): "0", ("lieux", 1, "surf"): ".", ("lieux", 1, "nbv"): ""}), 2023)
    assert built.victims[["plan", "surf", "nbv"]].iloc[0].tolist() == [-1, -1, -1]
    assert built.quarantine.empty


def test_day_that_the_month_lacks() -> None:
    """31 November reads as a day unknown in November."""
    built = build_victims(year({("caracteristiques", 1, "jour"): "31"}), 2023)
    assert built.victims[["jour", "mois"]].iloc[3].tolist() == [-1, 11]
    assert "is not a day of month 11 of 2023" in built.quarantine.message.iloc[0]


def test_refused_users_stay_in_the_context() -> None:
    """A driver of unknown severity is refused but counts in the context of the other users."""
    built = build_victims(year({("usagers", 2, "grav"): "0"}), 2023)
    assert len(built.victims) == 3
    assert built.victims.nb_users.iloc[2] == 2


def test_accident_without_road_keeps_its_users() -> None:
    """A missing lieux row makes the road unknown and is reported."""
    built = build_victims(year({("lieux", 2, "Num_Acc"): "202300000001"}), 2023)
    assert built.victims.catr.tolist() == [2, 2, -1, -1]
    assert built.quarantine.rule.tolist() == ["no_place"]


def test_order_of_accidents_does_not_matter() -> None:
    """Road users are joined with their accident independently of the order of the files."""
    straight = build_victims(year(), 2023).victims
    rows = [dict(row) for row in reversed(USAGERS)]
    turned = build_victims(year(usagers=text(rows).encode()), 2023).victims
    pd.testing.assert_frame_equal(turned.iloc[::-1].reset_index(drop=True), straight)


@pytest.mark.parametrize("content", [b"", b"\n", b"hello", b"\xff\xfe", text(USAGERS).encode()])
def test_not_the_table(content: bytes) -> None:
    """An empty file, a page of an error, another table: one message that says what was found and what was expected."""
    with pytest.raises(UnreadableFile, match=r"lieux-2023.csv line 1: this is not a lieux file: no column .*catr"):
        build_victims(year(lieux=content), 2023)


@pytest.mark.parametrize("an", [2024, 2016])
@pytest.mark.parametrize("empty", [*TABLES, "all"])
def test_header_without_rows(an: int, empty: str) -> None:
    """A file that ends after its header: all rows are counted, and a year without road users has no victims."""
    files = sample_year(an, 40)
    for table in TABLES if empty == "all" else [empty]:
        files[table] = RawFile(files[table].name, files[table].data.split(b"\n")[0] + b"\n")
    built = build_victims(files, an)
    assert all(is_balanced(count) for count in built.counts.values())
    assert len(built.victims) == (
        0 if empty in ("all", "caracteristiques", "usagers") else built.counts["usagers"].rows_in
    )
    assert {name: str(built.victims[name].dtype) for name in VICTIM_COLUMNS} == {
        n: get_dtype(n) for n in VICTIM_COLUMNS
    }


def test_leading_zeros_and_spreadsheet_words() -> None:
    """Department 1 is 01, and what a spreadsheet writes for an error is not filled in."""
    built = build_victims(
        year(
            {
                ("caracteristiques", 0, "dep"): "1",
                ("caracteristiques", 0, "com"): "1004",
                ("lieux", 1, "nbv"): "#VALEURMULTI",
            }
        ),
        2023,
    )
    assert built.victims[["dep", "com", "nbv"]].iloc[0].tolist() == ["01", "01004", -1]
    assert built.quarantine.empty
