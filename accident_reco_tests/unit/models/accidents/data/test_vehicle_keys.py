"""The vehicle of every road user where one of its two keys fails: found by the other, and the cause is named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from accident_reco.models.accidents.data.victims import AccidentYear, RawFile, build_victims
from accident_reco.models.accidents.sample import sample_year
from accident_reco_tests.support.baac import year
from accident_reco_tests.support.resaves import read_frame

FILES = sample_year(2022, 60)
EXPECTED = build_victims(FILES, 2022)


def _rewrite(**rewrites: Callable[[pd.Series], object]) -> AccidentYear:
    """The year with columns of `vehicules` and `usagers` rewritten (`usagers_id_vehicule=…`)."""
    files = dict(FILES)
    for table in ("vehicules", "usagers"):
        frame = read_frame(files[table])
        for at, rewrite in rewrites.items():
            if at.startswith(f"{table}_"):
                name = at.removeprefix(f"{table}_")
                frame[name] = rewrite(frame[name])
        files[table] = RawFile(files[table].name, frame.to_csv(index=False).encode())
    return build_victims(files, 2022)


def _digits(column: pd.Series) -> pd.Series:
    return column.str.replace(r"\D", "", regex=True)


FORMS: dict[str, Callable[[pd.Series], object]] = {
    "as published": lambda column: column,
    "without spaces": _digits,
    "floats": lambda column: _digits(column) + ".0",
    "decimal comma": lambda column: _digits(column) + ",00",
    "stray spaces": lambda column: "  " + column + "\t ",
    "mojibake": lambda column: column.str.replace("\u00a0", "\u00c2\u00a0"),
    "replaced": lambda column: column.str.replace("\u00a0", "\ufffd"),
    "question marks": lambda column: column.str.replace("\u00a0", "?"),
    "exact exponent": lambda column: _digits(column).map(lambda d: f"{d[0]}.{d[1:]}E+{len(d) - 1:02d}"),
}


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("table", ["vehicules", "usagers"])
def test_ids_in_every_form(table: str, form: str) -> None:
    """However one of the two files writes the ids, they are the same ids; only a doubled encoding is reported."""
    built = _rewrite(**{f"{table}_id_vehicule": FORMS[form]})
    pd.testing.assert_frame_equal(built.victims, EXPECTED.victims)
    # Lines of usagers keep an id in the right encoding, and are left as they are.
    doubled = form == "mojibake" and table == "vehicules"
    assert built.quarantine.rule.tolist() == (["double_encoding"] if doubled else [])


def _assert_vehicles_found(built: AccidentYear) -> None:
    others = [name for name in EXPECTED.victims if name not in ("id_vehicule", "num_veh")]
    pd.testing.assert_frame_equal(built.victims[others], EXPECTED.victims[others])


@pytest.mark.parametrize("table", ["vehicules", "usagers"])
@pytest.mark.parametrize(
    ("cell", "cause"),
    [
        ("", None),
        ("0", None),
        ("1,56E+08", "(id_vehicule = 1,56E+08) has lost its last digits to scientific notation, like in"),
        ("155 000 000", "id_vehicule = 155 000 000) is"),
    ],
)
def test_ids_that_name_nothing(table: str, cell: str, cause: str | None) -> None:
    """Empty, lost or wrong ids: every vehicle is found by num_veh within the accident; a failed id is reported."""
    built = _rewrite(**{f"{table}_id_vehicule": lambda _: cell})
    _assert_vehicles_found(built)
    messages = "\n".join(built.quarantine.message)
    if cause is None:
        # Road users without an id name no wrong one; vehicles without an id leave those of the road users unknown.
        assert ("is not an id of a vehicle of the accident, like in" in messages) == (table == "vehicules")
    else:
        assert cause in messages
    assert len(built.quarantine) < 5
    assert not built.vehicles[["Num_Acc", "id_vehicule"]].dropna().duplicated().any()


@pytest.mark.parametrize("cell", ["", "Z9", "A01"])
def test_letters_that_name_nothing(cell: str) -> None:
    """Ids suffice where num_veh is empty or wrong."""
    _assert_vehicles_found(_rewrite(usagers_num_veh=lambda _: cell))
    _assert_vehicles_found(_rewrite(vehicules_num_veh=lambda _: cell, usagers_num_veh=lambda _: cell))


def test_some_ids_fail_within_an_accident() -> None:
    """Every third id is wrong in one file: by the other key for these, with line and text of each or of the first."""
    built = _rewrite(usagers_id_vehicule=lambda ids: ids.where(np.arange(len(ids)) % 3 > 0, "999"))
    _assert_vehicles_found(built)
    assert set(built.quarantine.rule) == {"other_key"}
    assert built.quarantine.message[0].startswith("usagers-2022.csv line 2: ")
    assert "id_vehicule = 999" in built.quarantine.message[0]
    assert built.quarantine.message[0].endswith("vehicle found by num_veh.")


def test_both_keys_fail() -> None:
    """No vehicle can be found: each road user is reported with what its line has, and with what the file lacks."""
    built = _rewrite(usagers_id_vehicule=lambda _: "", usagers_num_veh=lambda _: "")
    assert (built.victims.catv == -1).all()
    assert set(built.quarantine.rule) == {"no_vehicle"}
    assert (
        "is empty, which names no vehicle, nor does the other of id_vehicule and num_veh" in built.quarantine.message[0]
    )
    built = _rewrite(vehicules_id_vehicule=lambda _: "", usagers_num_veh=lambda _: "")
    assert "cannot be found: carcteristiques" not in built.quarantine.message[0]
    assert "cannot be found: vehicules-2022.csv has no id_vehicule" in built.quarantine.message[0]


def test_keys_that_contradict_each_other() -> None:
    """Ids of one vehicle beside the letter of another: read by id, reported on every line."""
    swap = {"A01": "B01", "B01": "A01"}
    built = _rewrite(usagers_num_veh=lambda letters: letters.replace(swap))
    several = EXPECTED.victims.num_veh.isin(swap) & (EXPECTED.victims.nb_vehicles > 1)
    assert built.quarantine.rule.tolist() == ["different_keys"] * int(several.sum())
    assert built.quarantine.message[0].endswith("name different vehicles; vehicle found by id_vehicule.")


def test_shared_id_and_repeated_vehicle() -> None:
    """Two vehicles with one id are told apart by their letters; the same vehicle twice is one too many."""
    shared = build_victims(year({("vehicules", 1, "id_vehicule"): "155680557"}), 2023)
    assert shared.quarantine.rule.tolist() == ["other_key", "other_key", "shared_key", "shared_key"]
    assert shared.victims.catv.tolist() == [30, 7, 37, 37]
    twice = build_victims(
        year({("vehicules", 1, "id_vehicule"): "155680557", ("vehicules", 1, "num_veh"): "A01"}), 2023
    )
    assert (
        "vehicules-2023.csv line 3: id_vehicule = 155680557 is there already" in twice.quarantine.message.tolist()[-1]
    )
    assert len(twice.vehicles) == 2


def test_ids_of_road_users_that_are_lost() -> None:
    """One id for all people is no id: nobody is refused; a person repeated line by line still is."""
    built = _rewrite(usagers_id_usager=lambda _: "203 000 000")
    assert len(built.victims) == len(EXPECTED.victims)
    assert built.victims.id_usager.isna().all()
    (note,) = built.quarantine.message
    assert "(id_usager = 203 000 000) is the id of several road users, like in" in note
    doubled = FILES["usagers"].data + b"\n" + FILES["usagers"].data.split(b"\n", 1)[1]
    refused = build_victims({**FILES, "usagers": RawFile("u.csv", doubled)}, 2022)
    assert (refused.quarantine.rule == "duplicate_key").sum() == len(EXPECTED.victims)
