"""Flat records as columns and answers: every kind of field, missing values, and rules that hold for both protocols."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import Field

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.store import Pointer
from serving.common.problems import Problem
from serving.predict.model_slot import Champion
from serving.predict.tabular import AnswerField, Record, TabularApi


class House(Record):
    """A house."""

    area: float = Field(gt=0, description="m²")
    rooms: int
    city: str
    has_lift: bool = False
    age: float | None = None
    street: str | None = None


class Version:
    """Returns what it got, so that a test sees the columns."""

    def predict(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert {name: values.dtype.kind for name, values in columns.items()} == {
            "area": "f",
            "rooms": "i",
            "city": "O",
            "has_lift": "b",
            "age": "f",
            "street": "O",
        }
        known = ~np.isnan(columns["age"])
        return {"price": columns["area"] * columns["rooms"], "is_dated": known, "label": columns["city"]}


API = TabularApi(
    "houses",
    House,
    [AnswerField("price", float, "€"), AnswerField("is_dated", bool, "?"), AnswerField("label", str, "?")],
    summary="Price of a house",
)


@pytest.fixture(scope="module")
def champion() -> Champion[Any]:
    manifest = Bundle("houses", {}, {}, {}, {"data_source": "sample"}).manifest("2026-01-01T00:00:00.000+00:00")
    pointer = Pointer("houses", manifest.version, manifest.sha256, "2026-01-01", "run", None, "first")
    return Champion("houses", manifest.version, Version(), manifest, pointer, "store")


def columns(**changes: Any) -> dict[str, np.ndarray]:
    both = {
        "area": np.array([50.0, 80.0], np.float32),
        "rooms": np.array([2, 3], np.int32),
        "city": np.array(["Lyon", "Brest"], object),
        "age": np.array([np.nan, 30.0]),
    }
    return both | changes


def test_tensors_become_columns_answers_and_log_rows(champion) -> None:
    """Defaults are filled in, NaN is missing; the first answer field is the logged score; ids are distinct."""
    scored = API.infer(champion, columns())
    outputs = {name: (datatype, values.tolist()) for name, (datatype, values) in scored.outputs.items()}
    ids = outputs.pop("prediction_id")[1]
    assert outputs == {
        "price": ("FP64", [100.0, 240.0]),
        "is_dated": ("BOOL", [False, True]),
        "label": ("BYTES", ["Lyon", "Brest"]),
    }
    assert ids == scored.ids
    assert len(set(ids)) == 2
    assert scored.scores == [100.0, 240.0]
    assert scored.answers[1] == {"price": 240.0, "is_dated": True, "label": "Brest"}
    assert scored.inputs[0] == {"area": 50.0, "rooms": 2, "city": "Lyon", "has_lift": False}
    assert scored.inputs[1]["age"] == 30.0


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"area": np.array([50.0, -1.0])}, "Record 1/area: Input should be greater than 0."),
        ({"area": np.array([np.inf, 1.0])}, "Record 0/area: Input should be a finite number."),
        ({"area": np.array([np.nan, 1.0])}, "Record 0/area: Field required."),
        ({"rooms": np.array([2.5, 3.0])}, "Record 0/rooms: Input should be a valid integer."),
        ({"city": np.array([1, 2])}, "Record 0/city: Input should be a valid string."),
        ({"rooms": np.array([2, 2**63], np.uint64)}, "A number does not fit 64 bits."),
    ],
)
def test_invalid_tensors_are_refused_by_the_rules_of_the_record(champion, changes, detail) -> None:
    """422 with row, field and rule."""
    with pytest.raises(Problem) as refused:
        API.infer(champion, columns(**changes))
    assert (refused.value.status_code, refused.value.detail) == (422, detail)


def test_metadata_names_every_tensor(champion) -> None:
    """As the record and the table of answer fields declare them."""
    assert {spec.name: spec.datatype for spec in API.inputs(champion).values()} == {
        "area": "FP64",
        "rooms": "INT64",
        "city": "BYTES",
        "has_lift": "BOOL",
        "age": "FP64",
        "street": "BYTES",
    }
    assert [spec.name for spec in API.outputs()] == ["price", "is_dated", "label", "prediction_id"]


@pytest.mark.parametrize("annotation", [list[float], int | None, bool | None, float | str, dict, Any])
def test_a_field_that_is_no_column_is_refused_at_the_start(annotation: Any) -> None:
    """Nested values and numbers without a missing value have no column."""
    wrong = type("Wrong", (Record,), {"__annotations__": {"field": annotation}, "__module__": __name__})
    with pytest.raises(TypeError, match=r"field field of Wrong: .* is no type that Record names"):
        TabularApi("wrong", wrong, [AnswerField("price", float, "€")], summary="")
