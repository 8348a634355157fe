"""Shapes of the predict service's answers, for the documentation; the endpoints write JSON themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Served(BaseModel):
    """Which model answered."""

    model: str = Field(description="Model name")
    version: str = Field(description="Version that answered")
    data_source: str = Field(description="What the version was trained from: `sample`, `official`, or a directory")


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
