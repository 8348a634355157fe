"""Refused bodies: the first errors are listed, and no more are made."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from accident_reco.models.accidents.serving.request import PredictRequest
from accident_reco.models.movies.serving.request import BatchRequest, MoviesRequest, RatingsFeedback
from serving.common.body_limits import MAX_MEMBERS, SLICE_ITEMS, FewErrors, check_members, collect_field_names
from serving.common.problems import MAX_ERRORS, Problem, build_field_errors
from serving.common.routing import MAX_FORM_FIELDS, MAX_PARAMETERS, check_query, parse_form
from serving.drift.alerts import Notification


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int = Field(strict=True, ge=0)


Items = TypeAdapter(Annotated[list[Item], Field(min_length=2, max_length=100), FewErrors()])


def errors_of(adapter: TypeAdapter[Any], value: Any) -> list[Any]:
    with pytest.raises(ValidationError) as refused:
        adapter.validate_python(value)
    return refused.value.errors(include_url=False)


@pytest.mark.parametrize("n", [2, SLICE_ITEMS - 1, SLICE_ITEMS, SLICE_ITEMS + 1, 2 * SLICE_ITEMS + 1, 99, 100])
def test_valid_lists_keep_every_item_in_order(n: int) -> None:
    """Slices of any size are put together again."""
    assert [item.number for item in Items.validate_python([{"number": i} for i in range(n)])] == list(range(n))


@pytest.mark.parametrize(
    ("wrong", "listed"), [([0], [0]), ([16], [16]), ([32], [32]), ([3, 40, 99], [3, 40, 99]), (range(100), range(21))]
)
def test_errors_name_their_item(wrong: Any, listed: Any) -> None:
    """Also behind the first slice; a wrong item is reported once, though slices may overlap at the end."""
    value = [{"number": -1 if i in wrong else i} for i in range(100)]
    found = errors_of(Items, value)
    assert [error["loc"] for error in found] == [(i, "number") for i in listed]
    assert {(error["type"], error["msg"]) for error in found} == {
        ("greater_than_equal", "Input should be greater than or equal to 0")
    }


@pytest.mark.parametrize(
    ("value", "kind"),
    [([], "too_short"), ([{"number": 1}], "too_short"), ([{"number": 1}] * 101, "too_long"), ("x", "list_type")],
)
def test_the_length_is_checked_first(value: Any, kind: str) -> None:
    """As without the annotation; a list that is too long is not validated."""
    assert [error["type"] for error in errors_of(Items, value)] == [kind]


def test_the_overlapping_last_slice_reports_an_item_once() -> None:
    """33 items, the 20th is wrong: the third slice begins before it."""
    found = errors_of(Items, [{"number": -1 if i == 20 else i} for i in range(33)])
    assert [error["loc"] for error in found] == [(20, "number")]


HOSTILE = {
    "records with wrong values": (
        PredictRequest,
        {"records": [{"catu": [], "sexe": [], "vma": []}] * 1000},
    ),
    "records with unknown fields": (PredictRequest, {"records": [{f"k{i}": 1 for i in range(MAX_MEMBERS)}] * 1000}),
    "accidents": (PredictRequest, {"accidents": [{"users": [{f"k{i}": 1 for i in range(99)}] * 30}] * 100}),
    "ratings": (MoviesRequest, {"ratings": [{"movie_id": "x", "rating": 9, "a": 1}] * 1000}),
    "requests": (BatchRequest, {"requests": [{f"k{i}": 1 for i in range(MAX_MEMBERS)}] * 100}),
    "feedback": (RatingsFeedback, {"ratings": [1] * 1000}),
    "alerts": (Notification, {"version": "4", "alerts": [{"labels": dict.fromkeys(map(str, range(99)), 1)}] * 500}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_bodies_with_many_errors(kind: str) -> None:
    """Each request of the platform is refused with a few errors, of the first items that are wrong."""
    body, value = HOSTILE[kind]
    assert MAX_ERRORS < len(errors_of(TypeAdapter(body), value)) <= MAX_ERRORS + 1


def test_messages_with_braces_are_kept() -> None:
    """The rule of a code lists its values in braces."""
    found = errors_of(TypeAdapter(PredictRequest), {"records": [{"catu": 9}] * 40})
    assert "{1, 2, 3}" in build_field_errors(found)[0]["detail"]


def test_an_object_with_too_many_members() -> None:
    """The first 20 that no body has; nothing is validated."""
    known = collect_field_names(PredictRequest)
    assert {"records", "accidents", "users", "catu", "vehicles", "id"} <= known
    check_members({"records": [{f"k{i}": 1 for i in range(MAX_MEMBERS)}]}, known)
    with pytest.raises(Problem) as refused:
        check_members({"records": [{"catu": 1}, {"catu": 1} | {f"k{i}": 1 for i in range(180_000)}]}, known)
    errors = refused.value.errors or []
    assert [error["pointer"] for error in errors] == [f"body/records/1/k{i}" for i in range(MAX_ERRORS)]


@pytest.mark.parametrize("body", [b"&" * 1000, b"a=&" * MAX_FORM_FIELDS, b"a=1&" * 100])
def test_forms_have_few_fields(body: bytes) -> None:
    """Empty ones count."""
    with pytest.raises(Problem) as refused:
        parse_form(body)
    assert refused.value.status_code == 422


def test_forms_are_decoded() -> None:
    """Percent-encoding, plus signs, empty values, bytes that are not UTF-8."""
    form = parse_form(b"username=ad%61&password=%C3%A9+x&scope=&x=%ff")
    assert dict(form) == {"username": "ada", "password": "é x", "scope": "", "x": "�"}


@pytest.mark.parametrize(
    ("query", "unknown"),
    [
        (b"limit=1", []),
        (b"limit=1&limt=2", ["query/limt"]),
        (b"%6cimit=1", []),
        (b"a&b&limit", ["query/a", "query/b"]),
        (b"&".join(b"k%d=1" % i for i in range(40)), [f"query/k{i}" for i in range(MAX_ERRORS)]),
    ],
)
def test_unknown_parameters_are_named(query: bytes, unknown: list[str]) -> None:
    """A misspelt parameter is an error, as a misspelt field is."""
    try:
        check_query(query, frozenset({"limit"}))
        found = []
    except Problem as problem:
        found = [error["pointer"] for error in problem.errors or []]
    assert found == unknown


def test_many_parameters_are_not_parsed() -> None:
    """32 KiB of them would take milliseconds."""
    with pytest.raises(Problem) as refused:
        check_query(b"a&" * MAX_PARAMETERS, frozenset({"a"}))
    assert not refused.value.errors
