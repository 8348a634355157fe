"""Records validated a field at a time are the same as records validated one by one, and so are their errors."""

from __future__ import annotations

import random
from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from accident_reco.models.accidents.serving.columns import get_provided_fields
from accident_reco.models.accidents.serving.request import MAX_RECORDS, Record, RecordsRequest
from serving.common.body_limits import FewErrors

ONE_BY_ONE: TypeAdapter[Any] = TypeAdapter(
    Annotated[list[Record], Field(min_length=1, max_length=MAX_RECORDS), FewErrors()]  # type: ignore[valid-type]
)
VALID: dict[str, list[Any]] = {
    "catu": [1, 3, -1, 2.0, None],
    "an": [2024, 2024.0, -1],
    "hrmn": ["17:45", "7:05", "17:45:30", 1745, 0, -1, None, 905.0],
    "actp": ["A", "B", 0, 9, -1],
    "Num_Acc": [202400000001, -1, 10**15, None],
    "lat": [48.5, 48, -1, None, -90.0],
    "larrout": [5.5, -1, 6, None],
    "dep": ["59", "2A", "", None],
    "nb_users": [3, 9999, -1],
    "adr": ["x" * 200, None],
}
INVALID: dict[str, list[Any]] = {
    "catu": [True, "1", 7, 1.5, [1], {"a": 1}, 10**30],
    "hrmn": ["25:00", "1745", "17h45", True, 2400, [1]],
    "actp": ["C", "a", True],
    "lat": [91, "48", True],
    "adr": ["x" * 201, 5],
    "unknown": [1],
    "nb_users": [10000, False],
}


def draw(source: random.Random, n: int) -> list[dict[str, Any]]:
    return [{name: source.choice(values) for name, values in VALID.items() if source.random() < 0.6} for _ in range(n)]


@pytest.mark.parametrize("seed", range(40))
def test_valid_records_are_the_same(seed: int) -> None:
    """Whatever fields a record has, and in whatever notation."""
    source = random.Random(seed)
    records = draw(source, source.choice((1, 1, 2, 30)))
    rows = RecordsRequest.model_validate({"records": records}).rows
    expected = [get_provided_fields(record) for record in ONE_BY_ONE.validate_python(records)]
    assert [{n: (type(v), v) for n, v in row.items()} for row in rows.inputs] == [
        {n: (type(v), v) for n, v in row.items()} for row in expected
    ]
    # A batch has the columns of its records, each by itself.
    for position, record in enumerate(records):
        alone = RecordsRequest.model_validate({"records": [record]}).rows
        for name, values in alone.columns.items():
            assert values.dtype == rows.columns[name].dtype
            same = rows.columns[name][position]
            assert same == values[0] or (same != same and values[0] != values[0])


def test_columns_of_every_notation() -> None:
    """Codes and times are numbers, unknown ones -1 or NaN."""
    records = [{"hrmn": "7:05", "actp": "B", "larrout": -1, "lat": -1, "Num_Acc": 10**15, "dep": None}, {"catu": 1.0}]
    columns = RecordsRequest.model_validate({"records": records}).rows.columns
    assert {name: values.tolist() for name, values in columns.items() if values.dtype.kind == "i"} == {
        "hrmn": [705, -1],
        "actp": [11, -1],
        "Num_Acc": [10**15, -1],
        "catu": [-1, 1],
    }
    assert str(columns["larrout"].tolist()) == "[nan, nan]"
    assert str(columns["lat"].tolist()) == "[-1.0, nan]"
    assert columns["dep"].tolist() == [None, None]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in INVALID.items() for value in values])
@pytest.mark.parametrize("n", [1, 40])
def test_errors_are_the_same(name: str, value: Any, n: int) -> None:
    """Type, place and words of every error are those of the record's own schema."""
    records = draw(random.Random(n), n)
    records[n // 2] |= {name: value}
    records[-1] |= {"another": 0}
    with pytest.raises(ValidationError) as expected:
        ONE_BY_ONE.validate_python(records)
    with pytest.raises(ValidationError) as found:
        RecordsRequest.model_validate({"records": records})
    listed = expected.value.errors(include_url=False, include_context=False)
    assert listed
    assert found.value.errors(include_url=False, include_context=False) == [
        {**error, "loc": ("records", *error["loc"])} for error in listed
    ]


@pytest.mark.parametrize("records", [[], {}, "x", None, [1], [{}, None], [[]], [{}] * (MAX_RECORDS + 1)])
def test_lists_of_something_else(records: Any) -> None:
    """Lengths and types of the list and of its items."""
    with pytest.raises(ValidationError) as expected:
        ONE_BY_ONE.validate_python(records)
    with pytest.raises(ValidationError) as found:
        RecordsRequest.model_validate({"records": records})
    kinds = [error["type"] for error in expected.value.errors()]
    assert [error["type"] for error in found.value.errors()] == kinds


def test_records_without_fields() -> None:
    """Everything is unknown."""
    rows = RecordsRequest.model_validate({"records": [{}, {}]}).rows
    assert rows.inputs == [{}, {}]
    assert {name: values.tolist() for name, values in rows.columns.items()} == {"catu": [-1, -1]}
