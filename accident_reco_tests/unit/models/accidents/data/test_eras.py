"""The era of a year and the forms of its values: decided by the files' own evidence, refused where it disagrees."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from accident_reco.models.accidents.data.eras import collect_evidence, decide_era
from accident_reco.models.accidents.data.forms import read_location
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.reading import UnreadableFile, read_table
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.sample import sample_year
from accident_reco_tests.support.baac import text, year
from accident_reco_tests.support.resaves import read_frame

OLD = sample_year(2016, 60)
NEW = sample_year(2022, 60)


def _rewrite(files: dict[str, RawFile], table: str, **columns: object) -> dict[str, RawFile]:
    """The files with columns of one table replaced (by a value, a list, or a function of the column), or added."""
    frame = read_frame(files[table])
    for name, new in columns.items():
        frame[name] = frame[name].map(new) if callable(new) else new
    return {**files, table: RawFile(files[table].name, frame.to_csv(index=False).encode())}


def _victims(files: dict[str, RawFile], an: int) -> pd.DataFrame:
    return build_victims(files, an).victims


@pytest.mark.parametrize("nothing", ["", "0", "-1", "0.0", " -1"])
@pytest.mark.parametrize("table", ["lieux", "vehicules", "usagers"])
def test_empty_columns_of_the_other_era_are_no_evidence(table: str, nothing: str) -> None:
    """Years that were merged and split again: the columns of later years are there, and hold nothing."""
    added = {"lieux": ["vma"], "vehicules": ["id_vehicule", "motor"], "usagers": ["secu1", "secu3", "id_vehicule"]}
    built = build_victims(_rewrite(OLD, table, **dict.fromkeys(added[table], nothing)), 2016)
    assert set(built.eras.values()) == {"until_2018"}
    pd.testing.assert_frame_equal(built.victims, _victims(OLD, 2016))


def test_empty_columns_of_earlier_years() -> None:
    """The same of a year since 2019, whose layout does not change either."""
    files = _rewrite(_rewrite(_rewrite(NEW, "usagers", secu=""), "lieux", env1="0"), "caracteristiques", gps="")
    built = build_victims(files, 2022)
    assert set(built.eras.values()) == {"since_2019"}
    pd.testing.assert_frame_equal(built.victims, _victims(NEW, 2022))


@pytest.mark.parametrize(
    ("files", "an", "table", "column", "value", "message"),
    [
        (OLD, 2016, "lieux", "vma", "50", r"lieux_2016.csv line 2: vma = 50: vma is a column of files since 2019 and"),
        (
            OLD,
            2016,
            "usagers",
            "secu1",
            "1",
            r"usagers_2016.csv line 2: secu1 = 1: .*numbers are of years until",
        ),
        (
            NEW,
            2022,
            "usagers",
            "secu",
            "11",
            r"usagers-2022.csv line 2: secu = 11: secu is a column of files until",
        ),
        (
            NEW,
            2022,
            "lieux",
            "Num_Acc",
            "201600000001",
            r"lieux-2022.csv line 2: Num_Acc = 201600000001: .*of years",
        ),
    ],
)
def test_tables_of_two_eras_are_refused(
    files: dict[str, RawFile], an: int, table: str, column: str, value: str, message: str
) -> None:
    """Filled columns or numbers of the other era in one of four files: refused, with line, text and fix."""
    with pytest.raises(UnreadableFile, match=message) as refused:
        build_victims(_rewrite(files, table, **{column: value}), an)
    assert "Fix: " in str(refused.value)


def test_all_numbers_decide_not_the_first() -> None:
    """A line of separators below the header, or one number of another year, is refused alone."""
    for first in ("", "201300000001", "none"):
        rows = read_frame(NEW["caracteristiques"])
        damaged = pd.concat([pd.DataFrame({name: [""] for name in rows}), rows])
        damaged.iloc[0, 0] = first
        name = NEW["caracteristiques"].name
        files = {**NEW, "caracteristiques": RawFile(name, damaged.to_csv(index=False).encode())}
        built = build_victims(files, 2022)
        pd.testing.assert_frame_equal(built.victims, _victims(NEW, 2022))
        refused = built.quarantine[built.quarantine.disposition == "refused"]
        assert (refused.line.tolist(), refused.source_table.tolist()) == ([2], ["caracteristiques"]), first


@pytest.mark.parametrize(("an", "era"), [(2016, "until_2018"), (2022, "since_2019"), (None, "since_2019")])
def test_era_without_numbers(an: int | None, era: str) -> None:
    """Without rows and columns of an era, the year decides."""
    raw = read_table(text([{name: "" for name in read_frame(NEW["vehicules"]) if name not in ("id_vehicule", "motor")}])
                     .split("\n")[0].encode(), "vehicules", "v.csv", Quarantine())  # fmt: skip
    assert decide_era([collect_evidence(raw)], an) == era


def _insee(files: dict[str, RawFile], an: int) -> tuple[list[str], list[str]]:
    """`dep` and `com` of the accidents in today's form."""
    accidents = build_victims(files, an).accidents
    return accidents.dep.tolist(), accidents.com.tolist()


@pytest.mark.parametrize("unpadded", [False, True])
def test_todays_departments_in_the_old_layout(unpadded: bool) -> None:
    """INSEE codes in a file of 2016, with or without leading zeros, are read as such, and it is noted."""
    dep, com = _insee(OLD, 2016)
    short = [code.lstrip("0") if unpadded else code for code in dep]
    files = _rewrite(OLD, "caracteristiques", dep=short, com=[code.lstrip("0") if unpadded else code for code in com])
    built = build_victims(files, 2016)
    pd.testing.assert_frame_equal(built.victims, _victims(OLD, 2016))
    assert built.quarantine.rule.tolist() == ["other_form"]
    assert "departments are an INSEE code (59), unlike" in built.quarantine.message[0]


def test_old_departments_in_todays_layout() -> None:
    """Departments followed by a 0 and communes of three digits in a file of 2022."""
    dep, com = _insee(NEW, 2022)
    old = {"2A": "201", "2B": "202"}
    files = _rewrite(
        NEW,
        "caracteristiques",
        dep=[old.get(code, code if len(code) == 3 else f"{int(code)}0" if code.isdigit() else code) for code in dep],
        com=[code[-3:] for code in com],
    )
    built = build_victims(files, 2022)
    found = built.victims[built.victims.dep.str.len() == 2]
    expected = _victims(NEW, 2022)
    pd.testing.assert_series_equal(built.victims.dep, expected.dep)
    pd.testing.assert_series_equal(found.com, expected.com[found.index])


def test_departments_of_two_forms_are_refused() -> None:
    """Half of the rows 590, half 62: no reading is right for both."""
    rows = len(read_frame(OLD["caracteristiques"]))
    mixed = ["590" if n % 2 else "62" for n in range(rows)]
    with pytest.raises(UnreadableFile, match=r"_2016.csv line \d: dep = .* Departments of one file have"):
        build_victims(_rewrite(OLD, "caracteristiques", dep=mixed, com="001"), 2016)


def test_departments_that_are_none_are_refused() -> None:
    """Names instead of codes, and communes of other departments: the columns are named with their texts."""
    with pytest.raises(UnreadableFile, match=r"line 2: dep = Nord, com = .*: dep is not a department, like in"):
        build_victims(_rewrite(NEW, "caracteristiques", dep="Nord"), 2022)
    with pytest.raises(UnreadableFile, match=r"dep = \w+, com = 59350: dep and com do not belong together"):
        build_victims(_rewrite(NEW, "caracteristiques", com="59350"), 2022)


@pytest.mark.parametrize(
    ("dep", "com", "zero_follows", "found"),
    [
        ("590", "350", True, ("59", "59350")),
        ("10", "004", True, ("01", "01004")),
        ("201", "004", True, ("2A", "2A004")),
        ("202", "33", True, ("2B", "2B033")),
        ("974", "411", True, ("974", "97411")),
        ("971", "5", True, ("971", "97105")),
        ("10", "10387", False, ("10", "10387")),
        ("1", "1004", False, ("01", "01004")),
        ("2a", "2a004", False, ("2A", "2A004")),
        ("59.0", "59350.0", False, ("59", "59350")),
        ("62", "62767", True, ("62", "62767")),
        ("590", "350", False, ("59", "59350")),
        ("75", None, False, ("75", None)),
        (None, "75101", False, (None, "75101")),
        ("620", "", True, ("62", None)),
    ],
)
def test_locations(dep: str | None, com: str | None, zero_follows: bool, found: tuple[str | None, str | None]) -> None:
    """Both forms of departments and communes."""
    assert read_location(dep, com, zero_follows) == found


def test_tens_are_told_by_their_communes() -> None:
    """Departments 10 to 90 by ten are of either form; INSEE codes of communes begin with theirs."""
    for dep, com, found in (("10", "10387", "10"), ("10", "1004", "01")):
        files = _rewrite(OLD, "caracteristiques", dep=dep, com=com)
        assert set(build_victims(files, 2016).accidents.dep) == {found}


def test_units_are_those_of_the_values() -> None:
    """Degrees and metres in the old layout, 1e-5 degrees and decimetres in today's."""
    expected = _victims(OLD, 2016)
    files = _rewrite(OLD, "caracteristiques", **{n: _scale(1e-5) for n in ("lat", "long")})
    files = _rewrite(files, "lieux", **{n: _scale(0.1) for n in ("larrout", "lartpc")})
    built = build_victims(files, 2016)
    np.testing.assert_allclose(built.victims[["lat", "long"]], expected[["lat", "long"]])
    np.testing.assert_allclose(built.victims[["larrout", "lartpc"]], expected[["larrout", "lartpc"]])
    assert sorted(re.findall(r": (\w+) are in (\w+)", "\n".join(built.quarantine.message))) == [
        ("coordinates", "degrees"),
        ("widths", "metres"),
    ]
    files = year({("caracteristiques", row, name): cell for row, name, cell in (
        (0, "lat", "4886638"), (0, "long", "232347"), (1, "lat", "-2090000"), (1, "long", "5550000"))})  # fmt: skip
    assert build_victims(files, 2023).accidents[["lat", "long"]].round(5).to_numpy().tolist() == [
        [48.86638, 2.32347],
        [-20.9, 55.5],
    ]


def test_decimetres_in_todays_layout() -> None:
    """Widths of a file of 2022 in decimetres, as in the files until 2018."""
    files = sample_year(2022, 600)
    expected = build_victims(files, 2022).victims
    tenfold = {
        name: lambda cell: str(round(float(cell.replace(",", ".")) * 10)) if cell.strip() not in ("", "-1") else cell
        for name in ("larrout", "lartpc")
    }
    built = build_victims(_rewrite(files, "lieux", **tenfold), 2022)
    np.testing.assert_allclose(built.victims[["larrout", "lartpc"]], expected[["larrout", "lartpc"]])
    assert "widths are in decimetres, unlike" in built.quarantine.message[0]


def _scale(factor: float) -> object:
    return lambda cell: f"{float(cell) * factor:.6f}" if cell.strip() and float(cell) else cell
