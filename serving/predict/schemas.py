"""Response schemas of the predict service, for the OpenAPI document; the endpoints write JSON themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ServedVersion(BaseModel):
    """Version that served a prediction."""

    model: str = Field(description="Model name")
    version: str = Field(description="Version that served the prediction")
    data_source: str = Field(description="Source of the training data: `sample`, `official`, or a directory")


class ModelSummary(BaseModel):
    """A model and its champion."""

    model: str
    champion: str | None = Field(description="Version that serves now")
    data_source: str | None
    promoted_at: str | None = Field(description="Time of its promotion (UTC)")
    reason: str | None = Field(description="Reason of its promotion, as the gate stated it")
    metrics: dict[str, Any] = Field(description="Its metrics on the frozen holdout")
    problem: str | None = Field(description="Why a newer version is not loaded")


class VersionSummary(BaseModel):
    """A version in the model store."""

    version: str
    created_at: str
    champion: bool
    metrics: dict[str, Any]
    gate: dict[str, Any] = Field(description="Decision of the gate, with its reason")
    lineage: dict[str, Any] = Field(description="Sources with sha256, runs, commit, data source")


class ModelDetails(ModelSummary):
    """A model with its versions, newest first."""

    versions: list[VersionSummary]
