"""What a page shows of an answer of `POST /predict/<model>`: words of a language, bars, differences. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any, Final

from accident_reco.models.accidents.serving.console.form_layout import Words
from accident_reco.models.accidents.serving.console.scene import Scene, SceneUser

MAX_BARS: Final = 5


@dataclass(frozen=True)
class Bar:
    """One factor.

    Args:
        words: the known value; empty for a missing one.
        width: share of the widest bar of the answer, 0 to 1.
        odds: factor by which it changes the odds, at least 1; `raises` has the direction.
    """

    name: str
    words: str
    width: float
    odds: float
    raises: bool


@dataclass(frozen=True)
class Question:
    """A missing field that is worth asking for; `lowest` and `highest` are the probabilities that it may lead to."""

    name: str
    change: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class UserView:
    """The answer for one road user.

    Args:
        advice: fields to ask for; None where the version has no advice.
    """

    title: str
    probability: float
    is_severe: bool
    is_uncertain: bool
    prediction_id: str
    known: Sequence[Bar]
    missing: Sequence[Bar]
    advice: Sequence[Question] | None


@dataclass(frozen=True)
class AnswerView:
    """The answer for one scene."""

    anyone: float
    threshold: float
    version: str
    data_source: str
    warnings: Sequence[str]
    users: Sequence[UserView]


@dataclass(frozen=True)
class Difference:
    """A field in which two scenes differ; empty words are an unknown value or an absent part."""

    part: str
    name: str
    first: str
    second: str


def describe_user(user: SceneUser, scene: Scene, words: Words) -> str:
    """A road user in a few words: kind, vehicle, sex, year of birth."""
    kind = user.values.get("catu")
    parts = [words.value("catu", kind) if kind else words.name("catu")]
    vehicle = next((vehicle for vehicle in scene.vehicles if vehicle.id == user.vehicle), None)
    if vehicle is not None:
        category = vehicle.values.get("catv")
        parts[0] += f" {vehicle.id}" + (f" ({words.value('catv', category)})" if category else "")
    parts += [words.value(name, user.values[name]) for name in ("sexe", "an_nais") if user.values.get(name)]
    return ", ".join(parts)


def build_view(answer: Mapping[str, Any], scene: Scene, words: Words, position: int = 0) -> AnswerView:
    """The view of one accident of an answer."""
    accident = answer["accidents"][position]
    widest = max(
        (abs(factor["effect"]) for user in accident["users"] for factor in user.get("factors") or ()), default=0.0
    )
    return AnswerView(
        accident["any_grave_probability"],
        answer["threshold"],
        answer["version"],
        answer["data_source"],
        answer["warnings"],
        [
            _build_user(found, describe_user(user, scene, words), words, widest)
            for found, user in zip(accident["users"], scene.users, strict=True)
        ],
    )


def _build_user(found: Mapping[str, Any], title: str, words: Words, widest: float) -> UserView:
    factors = found.get("factors") or ()
    # Answers of services of an earlier release have the strongest factors only.
    known = found.get("known") or [factor for factor in factors if factor["value"] is not None]
    missing = found.get("missing") or [factor for factor in factors if factor["value"] is None]
    advice = found.get("advice")
    return UserView(
        title,
        found["probability"],
        found["severity"] == "grave",
        found["uncertain"],
        found["prediction_id"],
        [_build_bar(factor, words, widest) for factor in known[:MAX_BARS]],
        [_build_bar(factor, words, widest) for factor in missing[:MAX_BARS]],
        None
        if advice is None
        else [
            Question(words.name(one["column"], one["name"]), one["change"], one["lowest"], one["highest"])
            for one in advice
        ],
    )


def _build_bar(factor: Mapping[str, Any], words: Words, widest: float) -> Bar:
    column, value, effect = factor["column"], factor["value"], factor["effect"]
    return Bar(
        words.name(column, factor["name"]),
        "" if value is None else words.value(column, value, factor["words"]),
        min(abs(effect) / widest, 1.0) if widest else 0.0,
        exp(abs(effect)),
        effect > 0,
    )


def list_differences(first: Scene, second: Scene, words: Words, accident: str, vehicle: str) -> list[Difference]:
    """Fields in which two scenes differ; road users are compared in their order, vehicles by their letter.

    Args:
        accident, vehicle: words for these parts.
    """
    found = list(_compare(accident, first.accident, second.accident, words))
    letters = sorted({each.id for scene in (first, second) for each in scene.vehicles})
    for letter in letters:
        pair = [next((each.values for each in scene.vehicles if each.id == letter), None) for scene in (first, second)]
        found += _compare_parts(f"{vehicle} {letter}", pair, words)
    for at in range(max(len(first.users), len(second.users))):
        users = [scene.users[at] if at < len(scene.users) else None for scene in (first, second)]
        title = f"{at + 1}. " + next(
            describe_user(user, scene, words) for user, scene in zip(users, (first, second), strict=True) if user
        )
        values = [{**user.values, "vehicle": user.vehicle} if user else None for user in users]
        found += _compare_parts(title, values, words, {"vehicle": vehicle})
    return found


def _compare_parts(
    part: str, pair: Sequence[Mapping[str, str] | None], words: Words, names: Mapping[str, str] | None = None
) -> list[Difference]:
    first, second = pair
    if first is None or second is None:
        return [Difference(part, "", "" if first is None else "✓", "" if second is None else "✓")]
    return _compare(part, first, second, words, names)


def _compare(
    part: str,
    first: Mapping[str, str],
    second: Mapping[str, str],
    words: Words,
    names: Mapping[str, str] | None = None,
) -> list[Difference]:
    found = []
    for name in dict.fromkeys((*first, *second)):
        pair = [values.get(name, "") for values in (first, second)]
        if pair[0] != pair[1]:
            described = [words.value(name, value) if value else "" for value in pair]
            found.append(Difference(part, (names or {}).get(name) or words.name(name), *described))
    return found
