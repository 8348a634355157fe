"""The codebook against the official descriptions, and its messages about invalid values."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from accident_reco.models.accidents.codebook import FIELDS, TABLES, describe_code, find_problem, get_field, to_number
from accident_reco.models.accidents.data.schema import COLUMNS

# Fields whose codes the description gives in a drawing, or not at all.
NOT_LISTED = {"place", "env1"}


def _described(text: str, name: str) -> dict[int, str]:
    """Codes of a field as the description lists them: `-1 – Non renseigné`, `A – Monte/descend` …"""
    heading = {"an_nais": "An_nais"}.get(name, name)
    start = re.search(rf"^{heading} *\n", text, flags=re.MULTILINE)
    assert start, name
    codes: dict[int, str] = {}
    for line in text[start.end() :].splitlines():
        if re.fullmatch(r"[a-zA-Z]\w{1,11} *", line) and line.strip() in {*FIELDS, "Num_Veh", "num_Veh", "An_nais"}:
            break
        found = re.match(r"^ *(-?\d+|[AB]) [–-] (.+?) *$", line)
        if found:
            code = {"A": 10, "B": 11}.get(found[1]) or int(found[1])
            if code in codes:
                break
            codes[code] = found[2]
    return codes


def _plain(words: str) -> str:
    """Lower case without accents."""
    return unicodedata.normalize("NFD", words.lower().replace("œ", "oe")).encode("ascii", "ignore").decode()


@pytest.mark.parametrize("name", [n for n, f in FIELDS.items() if f.codes is not None and n not in NOT_LISTED])
def test_codes_are_the_official_ones(name: str, baac_dir: Path) -> None:
    """Code by code, the codebook is the description of 2005 to 2022; nothing is missing, nothing is invented."""
    text = (baac_dir / "codebook" / "description-des-bases-de-donnees-annuelles-2022.txt").read_text(encoding="utf-8")
    official = _described(text, name)
    official.pop(-1, None)
    codes = get_field(name).codes
    assert codes is not None
    assert set(codes) == set(official)
    for code, fr in official.items():
        first = re.split(r"[^a-z]", _plain(fr))[0]
        if first != "reference":  # "Référence inutilisée depuis 2006 (scooter immatriculé)" has another order
            assert first in _plain(codes[code][0]), (code, fr)


def test_words_in_both_languages() -> None:
    """Descriptions are available in French, as published, and in English."""
    assert describe_code("grav", 2) == "Killed"
    assert describe_code("grav", 2, "fr") == "Tué"
    assert describe_code("catv", 33) == "Motorcycle over 125 cc"
    assert describe_code("lum", -1) == "Not filled in"
    assert describe_code("lum", 77) == "77"


def test_every_column_has_a_field() -> None:
    """No column of any table lacks a meaning; no code lacks words in either language."""
    for table in TABLES:
        for name in COLUMNS[table]:
            assert name in FIELDS
    for spec in FIELDS.values():
        assert spec.fr
        assert spec.en
        for fr, en in (spec.codes or {}).values():
            assert fr
            assert en


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grav", 4),
        ("grav", None),
        ("lum", -1),
        ("lum", "5"),
        ("actp", "A"),
        ("actp", "b"),
        ("actp", 11),
        ("vma", 130),
        ("lat", "48,5"),
        ("long", -1.0),
        ("adr", 12),
        ("hrmn", 2359),
        ("an_nais", 1950.0),
    ],
)
def test_acceptable(name: str, value: object) -> None:
    """What a client may send: codes, numbers, numeric text, letters of actp, unknown."""
    assert find_problem(name, value) is None


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("grav", 7, "grav = 7 is not in {1, 2, 3, 4} (severity of injury; -1 means unknown)"),
        ("actp", "Z", "actp = 'Z' is not a number; what the pedestrian did takes {0, 1, 2, 3, 4, 5,"),
        ("vma", 900, "vma = 900 is not in 5 to 130 km/h (speed limit; -1 means unknown)"),
        ("lum", 1.5, "lum = 1.5 is not a whole number"),
        ("lum", True, "lum = True is not a number"),
        ("lum", float("nan"), "is not a number"),
        ("lum", float("inf"), "is not a number"),
        ("lat", 91, "lat = 91 is not in -90 to 90 degrees"),
        ("catv", [7], "is not a number"),
    ],
)
def test_invalid_values_are_reported_with_the_rule(name: str, value: object, text: str) -> None:
    """An error names the field, the value, the valid values, and the notation of unknown."""
    assert text in (find_problem(name, value) or "")


def test_unknown_field_names_the_fields() -> None:
    """A field that does not exist is answered with those that do."""
    with pytest.raises(KeyError, match="speed is not a BAAC field; fields are Num_Acc, an, mois"):
        find_problem("speed", 3)


def test_canonical_numbers() -> None:
    """One reading of a value for requests and files."""
    assert [to_number("actp", value) for value in ("A", "b", 3, "x", None)] == [10, 11, 3, None, None]
    assert to_number("lat", " 48,5 ") == 48.5
    times = ("17:45", "7:05", "00:00", "1745", 1745, "7:5", "12:75", "-1:30", "1:2:3", ":", "²:15")
    assert [to_number("hrmn", value) for value in times] == [1745, 705, 0, 1745, 1745, *[None] * 6]


def test_codebook_is_light() -> None:
    """Servers import it: no numpy, no pandas."""
    script = (
        "import sys, accident_reco.models.accidents.codebook; print(sorted({'numpy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
