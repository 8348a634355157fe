"""The form of a third model from its schema, and the body from the form."""

from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field

from serving.console.default_pages import flatten
from serving.console.schema_forms import build_body, find_field_errors, read_form


class Patient(BaseModel):
    age: float = Field(ge=0, le=120, description="Age in years")
    sex: int = Field(description="Code", examples=[2])
    smoker: bool = False
    ward: str | None = Field(None, description="Ward")


class Patients(BaseModel):
    records: list[Patient]


class Prediction(BaseModel):
    risk: float = Field(description="Probability")


class Answer(BaseModel):
    version: str
    predictions: list[Prediction]


class Nested(BaseModel):
    patient: Patient


def document(body: type[BaseModel]) -> dict[str, Any]:
    app = FastAPI()

    @app.post("/predict/x", summary="Risk")
    def predict(given: body) -> Answer:  # type: ignore[valid-type]
        raise NotImplementedError

    return app.openapi()


@pytest.mark.parametrize(("body", "wrapper"), [(Patient, ""), (Patients, "records")])
def test_a_record_becomes_a_form(body: type[BaseModel], wrapper: str) -> None:
    """Alone or in a list: fields with type, bounds and example, answers with their descriptions."""
    form = read_form(document(body), "/predict/x")
    assert form is not None
    assert (form.summary, form.wrapper, form.answers["risk"]) == ("Risk", wrapper, "Probability")
    by_name = {field.name: field for field in form.fields}
    assert by_name["age"].help == "Age in years; 0 to 120"
    assert (by_name["sex"].example, by_name["sex"].attributes) == ("2", {"step": "1", "required": True})
    assert (by_name["ward"].kind, by_name["ward"].help) == ("string", "Ward; optional")
    record = {"age": 4.5, "sex": 1, "smoker": True}
    given = {"age": " 4.5 ", "sex": "1", "smoker": "true", "ward": ""}
    assert build_body(form, given) == (({"records": [record]} if wrapper else record), {})


def test_wrong_fields_are_named() -> None:
    """Absent, no number, no whole number; and the service's errors by the field of their pointer."""
    form = read_form(document(Patients), "/predict/x")
    assert form is not None
    _, errors = build_body(form, {"sex": "1.5"})
    assert errors == {"age": "Enter a value.", "sex": "Enter a whole number."}
    rules = {"body/records/0/age": "too old", "body/records": "too many", "header/x": "absent"}
    assert find_field_errors(form, rules) == {"age": "too old"}


def test_a_nested_request_has_no_form() -> None:
    """Rather a page that says so than a form that cannot be answered."""
    assert read_form(document(Nested), "/predict/x") is None
    assert read_form(document(Patient), "/predict/y") is None


def test_an_answer_is_shown_flat() -> None:
    """Fields of the answer and of its first prediction."""
    answer = {"model": "x", "predictions": [{"risk": 0.5, "factors": []}], "notes": ["a"]}
    assert list(flatten(answer)) == [("model", "x"), ("risk", 0.5), ("factors", []), ("notes", ["a"])]
