"""What a page shows of an answer."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import pytest

from accident_reco.models.accidents.serving.console.answer_view import build_view, describe_user, list_differences
from accident_reco.models.accidents.serving.console.form_layout import Words
from accident_reco.models.accidents.serving.console.scene import EXAMPLE, Scene, SceneUser, SceneVehicle


def build_factor(column: str, value: Any, effect: float, words: str = "") -> dict[str, Any]:
    return {"column": column, "name": column, "value": value, "words": words, "effect": effect}


def build_answer(**user: Any) -> dict[str, Any]:
    """An answer for a scene of one road user."""
    one = {"prediction_id": "p-0", "probability": 0.4, "severity": "grave", "uncertain": True} | user
    accident = {"any_grave_probability": 0.4, "users": [one]}
    return {"accidents": [accident], "threshold": 0.3, "version": "v", "data_source": "sample", "warnings": []}


SCENE = Scene({}, (SceneVehicle("A", {"catv": "7"}),), (SceneUser("A", {"catu": "1"}),))


def test_known_and_missing_factors_are_bars_in_the_language() -> None:
    """The widest bar is 1; a log-odds effect of ln 2 doubles the odds; words are those of the codebook."""
    known, missing = build_factor("lum", 3, log(2), "Night"), build_factor("catr", None, -log(4), "unknown")
    answer = build_answer(factors=[missing, known], known=[known], missing=[missing], advice=[])
    (user,) = build_view(answer, SCENE, Words("fr")).users
    (bar,), (gap,) = user.known, user.missing
    assert (bar.name, bar.words, bar.raises) == ("Lumière", "Nuit sans éclairage public", True)
    assert (bar.odds, bar.width) == (pytest.approx(2), pytest.approx(0.5))
    assert (gap.name, gap.words, gap.raises, gap.width) == ("Catégorie de route", "", False, 1)
    assert (user.title, user.is_severe, user.is_uncertain) == ("Conducteur A (VL seul)", True, True)


def test_answers_of_an_earlier_release_are_split_by_value() -> None:
    """They have the strongest factors only, and no advice."""
    factors = [build_factor("lum", 3, 1.0), build_factor("atm", None, 0.5)]
    (user,) = build_view(build_answer(factors=factors), SCENE, Words("en")).users
    assert [bar.name for bar in user.known] == ["Light"]
    assert [bar.name for bar in user.missing] == ["Weather"]
    assert user.advice is None


def test_questions_are_named_by_the_codebook() -> None:
    """With the range of probabilities that the field may lead to."""
    advice = [{"column": "vma", "name": "x", "change": 0.1, "lowest": 0.2, "highest": 0.6}]
    (user,) = build_view(build_answer(advice=advice), SCENE, Words("en")).users
    assert user.advice is not None
    assert [(each.name, each.lowest, each.highest) for each in user.advice] == [("Speed limit", 0.2, 0.6)]


def test_differences_of_two_scenes() -> None:
    """Changed, added and removed fields, vehicles and road users, each with the words of both sides."""
    words = Words("en")
    users = (EXAMPLE.users[0], replace(EXAMPLE.users[1], values={**EXAMPLE.users[1].values, "secu1": "0"}))
    second = Scene({**EXAMPLE.accident, "vma": "50", "atm": "2"}, EXAMPLE.vehicles, (*users, SceneUser("A", {})))
    found = list_differences(EXAMPLE, second, words, "Accident", "Vehicle")
    assert [(each.part, each.name, each.first, each.second) for each in found] == [
        ("Accident", "Speed limit", "80 km/h", "50 km/h"),
        ("Accident", "Weather", "", "Light rain"),
        ("2. Driver B (Motorcycle over 125 cc), Male, 2001", "Safety equipment 1", "Helmet", "No equipment"),
        ("3. Kind of road user A (Car)", "", "", "✓"),
    ]
    assert list_differences(EXAMPLE, EXAMPLE, words, "Accident", "Vehicle") == []


def test_a_vehicle_that_only_one_scene_has() -> None:
    """And a road user who changed the vehicle."""
    second = Scene(EXAMPLE.accident, EXAMPLE.vehicles[:1], (EXAMPLE.users[0], replace(EXAMPLE.users[1], vehicle="A")))
    found = list_differences(EXAMPLE, second, Words("en"), "Accident", "Vehicle")
    assert [(each.part, each.first, each.second) for each in found[:1]] == [("Vehicle B", "✓", "")]
    assert (found[1].name, found[1].first, found[1].second) == ("Vehicle", "B", "A")


def test_a_road_user_of_whom_nothing_is_known() -> None:
    """Still has a title."""
    assert describe_user(SceneUser(), Scene(), Words("en")) == "Kind of road user"
