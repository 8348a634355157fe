"""Answers requests with a trained version, takes labels, reports new data. Imports no training library."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from accident_reco.contract import Label, NewData, Platform
from accident_reco.lifecycle.bundle import Manifest, sha256
from diabetes_model.model import DiabetesSettings
from serving.predict.tabular import AnswerField, Record, TabularApi, TabularServing


class Patient(Record):
    """Measurements of one patient, in the units of scikit-learn's diabetes data."""

    age: float = Field(ge=0, le=120, description="Age in years")
    sex: int = Field(ge=1, le=2, description="Code 1 or 2")
    bmi: float = Field(ge=5, le=100, description="Body mass index, kg/m²")
    bp: float = Field(ge=20, le=300, description="Mean blood pressure, mmHg")
    s5: float = Field(ge=0, le=20, description="Logarithm of serum triglycerides")


class Outcome(Record):
    """Progression that was measured after a year."""

    progression: float = Field(ge=0, le=1_000, description="Measure of disease progression")


EXPECTED = AnswerField("progression", float, "Expected progression one year ahead")
API = TabularApi("diabetes", Patient, [EXPECTED], summary="Progression of diabetes one year ahead")


class LinearVersion:
    """A version: an intercept and one coefficient per feature."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.intercept, self.coefficients = json.loads(files["model.json"])

    def predict(self, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Columns of shape (n,) → progression, shape (n,)."""
        return {"progression": sum((w * columns[name] for name, w in self.coefficients.items()), self.intercept)}


class DiabetesServing(TabularServing):
    """One number per patient."""

    api = API
    label = Label(Outcome, outcome=lambda body: body.progression, summary="Report the progression after a year")

    def load(self, files: Mapping[str, bytes], manifest: Manifest) -> LinearVersion:
        version = LinearVersion(files)
        if not np.isfinite(version.predict(dict.fromkeys(Patient.model_fields, np.ones(1)))["progression"]).all():
            raise ValueError("the smoke prediction is not finite")
        return version

    def new_data(self, platform: Platform, manifest: Manifest) -> NewData | str:
        settings = platform.settings.of(DiabetesSettings)
        content = Path(settings.diabetes_source).read_bytes() if settings.diabetes_source else b""
        fresh = max(content.count(b"\n") - 1 - manifest.lineage["further_rows"], 0)
        if fresh < settings.diabetes_new_rows:
            return f"{fresh} new rows, {settings.diabetes_new_rows} are needed"
        return NewData(sha256(content), f"{fresh} rows that the champion was not trained on")
