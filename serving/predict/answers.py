"""Shapes of the predict service's answers, for the documentation; the endpoints write JSON themselves."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class Served(BaseModel):
    """Which model answered."""

    model: str = Field(description="Model name")
    version: str = Field(description="Version that answered")
    data_source: str = Field(description="What the version was trained from: `sample`, `official`, or a directory")


class UserPrediction(BaseModel):
    """The answer for one road user."""

    prediction_id: str = Field(description="Id to send feedback about")
    probability: float = Field(ge=0, le=1, description="Probability of being killed or hospitalised")
    severity: Literal["grave", "light"] = Field(description="`grave` when the probability reaches the threshold")
    uncertain: bool = Field(description="Neither class can be excluded at the coverage that the model states")
    factors: list[FactorAnswer] | None = Field(None, description="With `explain=true`: the strongest first")


class FactorAnswer(BaseModel):
    """One reason for a probability."""

    column: str = Field(description="BAAC or context column that the reason is about")
    name: str = Field(description="What the column is, in words")
    value: int | float | str | None = Field(description="What the request said; null: unknown, which is a reason too")
    words: str = Field(description="The value in the codebook's words")
    effect: float = Field(description="Push on the log-odds (Shapley value); above 0 towards grave")


class AccidentPrediction(BaseModel):
    """The answer for one accident."""

    any_grave_probability: float = Field(
        ge=0, le=1, description="Probability that anyone is gravely hurt: 1 - product of (1 - p) over the users"
    )
    users: list[UserPrediction] = Field(description="In the order of the request")


class AccidentsAnswer(Served):
    """Answer of `POST /predict/accidents`: `predictions` for the short form, `accidents` for the full one."""

    threshold: float = Field(description="Probability from which the class is `grave`")
    context: Literal["full", "partial"] = Field(
        description="`partial`: what is known of the other parties of the accident is incomplete"
    )
    warnings: list[str] = Field(description="What was read differently than it may have been meant")
    predictions: list[UserPrediction] | None = Field(None, description="Short form: in the order of the records")
    accidents: list[AccidentPrediction] | None = Field(None, description="Full form: in the order of the accidents")


class ModelSummary(BaseModel):
    """One model name and what serves under it."""

    model: str
    champion: str | None = Field(description="Version that answers now")
    data_source: str | None
    promoted_at: str | None = Field(description="When it was promoted (UTC)")
    reason: str | None = Field(description="Why it was promoted, word for word from the gate")
    metrics: dict[str, Any] = Field(description="Its metrics on the frozen holdout")
    problem: str | None = Field(description="What keeps a newer version from being loaded")


class VersionSummary(BaseModel):
    """One version in the store."""

    version: str
    created_at: str
    champion: bool
    metrics: dict[str, Any]
    gate: dict[str, Any] = Field(description="The gate's decision about it, with its reason")
    lineage: dict[str, Any] = Field(description="Sources with sha256, runs, commit, data source")


class ModelDetails(ModelSummary):
    """One model name with its versions, newest first."""

    versions: list[VersionSummary]
