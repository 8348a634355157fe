"""The one reader of values: notations of missing values, numbers that a spreadsheet rewrote, clocks, dates, ids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from accident_reco.models.accidents.codebook.notation import MISSING_WORDS, parse_number
from accident_reco.models.accidents.data.adapters import read_canonical
from accident_reco.models.accidents.data.cells import (
    NOT_FILLED_IN,
    UNTIL_2018,
    clean_id,
    get_parser,
    parse_accident_number,
)
from accident_reco.models.accidents.data.coordinates import repair_coordinates
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.reading import UnreadableFile
from accident_reco.models.accidents.data.schema import COLUMNS
from accident_reco.models.accidents.data.values import clean_text, parse_degrees


@pytest.mark.parametrize("name", ["catu", "hrmn", "an", "an_nais", "vma", "nbv", "actp", "jour"])
def test_notations_of_missing_values(name: str) -> None:
    """What R, pandas, Python, databases and the publisher write for nothing is missing, without any remark."""
    words = {*MISSING_WORDS, "NA", "NaN", "nan", "None", "NULL", "N/A", " -1".strip(), "-1.0", "-1,00", "."}
    for word in sorted(word for word in words if not word.startswith("#")):
        assert get_parser(name)(word) == (-1, "", ""), word
    for word in ("#ERREUR", "#N/A", "######", "Err:502"):
        assert get_parser(name)(word)[:2] == (-1, NOT_FILLED_IN)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("catu", "1.0", 1),
        ("catu", "1,0", 1),
        ("an_nais", "1987.0", 1987),
        ("an_nais", "1,987E+03", 1987),
        ("an_nais", "1905-06-09", 1987),
        ("an", "24", 2024),
        ("an", "2024-03-25", 2024),
        ("an", "1905-07-16", 2024),
        ("mois", "45376", 3),
        ("jour", "2024-03-25 00:00:00", 25),
        ("larrout", "6,5", 6.5),
        ("vma", "900", 90),
        ("vma", "500", 50),
        ("actp", "b", 11),
        ("hrmn", "07:40", 740),
        ("hrmn", "8:40", 840),
        ("hrmn", "08:40:00", 840),
        ("hrmn", "2024-03-25 08:40:00", 840),
        ("hrmn", "0 days 08:40:00", 840),
        ("hrmn", "8h40", 840),
        ("hrmn", "7:40 PM", 1940),
        ("hrmn", "12:05 am", 5),
        ("hrmn", "1445", 1445),
        ("hrmn", "745.0", 745),
        ("hrmn", "5", 5),
        ("hrmn", "0,361111111", 840),
        ("hrmn", "45376,3194444444", 740),
    ],
)
def test_rewritten_values(name: str, text: str, value: float) -> None:
    """Floats, decimal commas, exact exponents, clocks with seconds, dates, serial days: the value that was meant."""
    assert get_parser(name)(text)[0] == value


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("an_nais", "1.99E+03", "not_a_number"),
        ("an_nais", "9/6/1905", "not_a_number"),
        ("jour", "03/04/2024", "not_a_number"),
        ("catu", "1_0", "not_a_number"),
        ("catu", "9", "code"),
        ("actp", "7", "code"),
        ("vma", "3", "out_of_range"),
        ("hrmn", "1:5", "not_a_number"),
        ("hrmn", "25:10", "out_of_range"),
        ("hrmn", "0,36", "not_a_number"),
        ("nbv", "0", NOT_FILLED_IN),
        ("larrout", "0", NOT_FILLED_IN),
    ],
)
def test_what_cannot_be_read_is_unknown_with_a_reason(name: str, text: str, rule: str) -> None:
    """Never a value that may be another one: lost digits, ambiguous dates, rounded clocks."""
    value, found, reason = get_parser(name)(text)
    assert (value == -1 or np.isnan(value), found) == (True, rule)
    assert reason


def test_lost_digits_are_named() -> None:
    """The reason is the cause: a number that a spreadsheet shortened is not called "not a number"."""
    assert "lost its digits" in get_parser("an_nais")("1.99E+03")[2]
    assert [parse_number(text) for text in ("2,024E+11", "2,02400000001E+11", "5e-05")] == [None, 202400000001.0, 5e-05]


def test_old_layout() -> None:
    """Decimetres, and pedestrians on rollers, of the files up to 2018."""
    assert get_parser("larrout", UNTIL_2018)("57")[0] == 5.7
    assert get_parser("catu", UNTIL_2018)("4")[0] == 3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("203\u00a0988\u00a0581", "203988581"),
        (" 155 781 758 ", "155781758"),
        ("155781758.0", "155781758"),
        ("1,55781758E+08", "155781758"),
        ("1,56E+08", None),
        ("203\u00c2\u00a0988\u00c2\u00a0581", "203988581"),
        ("203\ufffd988?581", "203988581"),
        ("A01", "A01"),
        ("2A004", "2A004"),
        ("NA", None),
    ],
)
def test_ids(text: str, found: str | None) -> None:
    """One id in every notation, alone and in a column."""
    assert clean_id(text) == found
    column = pa.array([text, "A01"]).dictionary_encode()
    assert clean_text(column, is_id=True).tolist() == [found, "A01"]
    assert clean_text(pa.array([text, "A01"]), is_id=True).tolist() == [found, "A01"]


def test_missing_text() -> None:
    """Words for nothing in text columns are None, other text stays."""
    column = pa.array(["NA", "nan", " N/A ", "None", "-1", "Allée NA", "", "#ERREUR"])
    assert clean_text(column).tolist() == [None, None, None, None, None, "Allée NA", None, None]


def test_accident_numbers() -> None:
    """Twelve digits in any exact notation; nothing that is not exact."""
    exact = ("202400000001", "202400000001.0", "2,02400000001E+11", "202 400 000 001")
    assert {parse_accident_number(text) for text in exact} == {202400000001}
    assert {parse_accident_number(text) for text in ("2,024E+11", "", "2024", "x", "NA")} == {-1}


def _caracteristiques(*rows: dict[str, str]) -> bytes:
    names = COLUMNS["caracteristiques"]
    usual = dict.fromkeys(names, "1") | {"Num_Acc": "202400000001", "an": "2024", "dep": "33", "com": "33063"}
    lines = [";".join(names), *(";".join((usual | row)[name] for name in names) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def test_accident_numbers_without_digits_refuse_the_file() -> None:
    """One refusal that names the cause, the line and the text, instead of accidents that are one by mistake."""
    data = _caracteristiques({}, {"Num_Acc": "2,024E+11"})
    with pytest.raises(UnreadableFile, match=r"line 3: Num_Acc = 2,024E\+11 has lost its digits"):
        read_canonical(data, "caracteristiques", "caract-2024.csv", Quarantine())


def test_minus_one_degree() -> None:
    """-1 is a longitude near Bordeaux, but missing where the latitude is; pandas writes both as -1.0."""
    data = _caracteristiques(
        {"lat": "44,8", "long": "-1.0"}, {"lat": "-1.0", "long": "-1.0", "Num_Acc": "202400000002"}
    )
    notes = Quarantine()
    table = read_canonical(data, "caracteristiques", "caract-2024.csv", notes)
    repair_coordinates(table, notes)
    assert np.array_equal(table.columns["lat"], [44.8, np.nan], equal_nan=True)
    assert np.array_equal(table.columns["long"], [-1.0, np.nan], equal_nan=True)
    assert not notes.rows


def test_coordinates_without_digits() -> None:
    """A coordinate in scientific notation with one decimal is ten kilometres wide, and not read."""
    values, wrong = parse_degrees(pa.array(["4,76E+01", "4,756277E+01", "nan"]), 1.0, is_latitude=True)
    assert np.array_equal(values, [np.nan, 47.56277, np.nan], equal_nan=True)
    assert wrong.tolist() == [0]


def test_values_that_are_not_filled_in_are_no_repairs() -> None:
    """The official rule (zero means not filled in) makes no entry in the quarantine; other invalid values do."""
    notes = Quarantine()
    read_canonical(_caracteristiques({"lum": "0", "atm": "#ERREUR", "col": "77"}), "caracteristiques", "c.csv", notes)
    (message,) = notes.to_frame()["message"]
    assert message.startswith("c.csv line 2: col = 77 is not in")
