"""Schemas of the accident endpoints' answers, for the documentation; fields of a row are in `scoring.answer.FIELDS`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from accident_reco.models.accidents.scoring.answer import JSON_FIELDS, AnswerField
from serving.predict.schemas import ServedVersion


class FactorAnswer(BaseModel):
    """One factor of a probability."""

    column: str = Field(description="BAAC or context column of the factor")
    name: str = Field(description="Description of the column")
    value: int | float | str | None = Field(description="Value in the request; null: unknown, which has an effect too")
    words: str = Field(description="Description of the value from the codebook")
    effect: float = Field(description="Effect on the log-odds (Shapley value); above 0 towards killed or hospitalised")
    known: bool = Field(description="Whether the field is known; if not, the effect is that of not knowing it")


class AdviceAnswer(BaseModel):
    """One missing field that is worth asking for."""

    column: str = Field(description="BAAC or context column of the field")
    name: str = Field(description="Description of the column")
    change: float = Field(ge=0, description="Expected absolute change of the probability once the field is known")
    uncertainty_reduction: float = Field(
        description="Expected decrease of the entropy of the probability, in bits; below 0: an increase"
    )
    lowest: float = Field(ge=0, le=1, description="Probability at the least severe of the usual values")
    highest: float = Field(ge=0, le=1, description="Probability at the most severe of the usual values")


def _build_field(field: AnswerField) -> Any:
    low, high = field.bounds or (None, None)
    return field.kind, Field(description=field.description, ge=low, le=high)


UserPrediction = create_model(
    "UserPrediction",
    __doc__="The answer for one road user.",
    prediction_id=(str, Field(description="Id to send feedback about")),
    **{field.name: _build_field(field) for field in JSON_FIELDS},
    factors=(list[FactorAnswer] | None, Field(None, description="With `explain=true`: the strongest first")),
    known=(list[FactorAnswer] | None, Field(None, description="With `explain=true`: strongest known fields")),
    missing=(
        list[FactorAnswer] | None,
        Field(None, description="With `explain=true`: missing fields, by the effect of not knowing them; no causes"),
    ),
    advice=(
        list[AdviceAnswer] | None,
        Field(
            None,
            description="With `advise=true`: missing fields that would change the probability most if they were known; "
            "null for a version that was trained before advice existed",
        ),
    ),
)


class AccidentPrediction(BaseModel):
    """The answer for one accident."""

    any_grave_probability: float = Field(
        ge=0,
        le=1,
        description="Probability that anyone is killed or hospitalised: 1 - product of (1 - p) over the users",
    )
    users: list[UserPrediction] = Field(description="In the order of the request")  # type: ignore[valid-type]


class AccidentsAnswer(ServedVersion):
    """Answer of `POST /predict/accidents`: `predictions` for `records`, `accidents` for whole accidents."""

    threshold: float = Field(description="Minimum probability of the class `grave`")
    context: Literal["full", "partial"] = Field(
        description="`partial`: information about the other parties of the accident is incomplete"
    )
    warnings: list[str] = Field(description="Values that were not interpreted literally")
    predictions: list[UserPrediction] | None = Field(  # type: ignore[valid-type]
        None, description="Short form: in the order of the records"
    )
    accidents: list[AccidentPrediction] | None = Field(None, description="Full form: in the order of the accidents")
