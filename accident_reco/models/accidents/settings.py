"""Settings of the accident model: where its data comes from, how it is trained and promoted."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, Field

from accident_reco.settings import Settings

FeatureSet: TypeAlias = Literal["call", "full"]


class AccidentData(BaseModel):
    """Accident data."""

    accidents_source: str = Field(
        "sample", description="`sample`, `official`, or a directory/URL with yearly BAAC files"
    )
    accidents_watch_seconds: int = Field(
        120,
        ge=1,
        description="Interval of the sensors of accident data; a publisher's server is requested at most once an hour",
    )
    accidents_sample_years: str = Field(
        "2021-2024",
        pattern=r"^20\d\d(-20\d\d)?(,20\d\d(-20\d\d)?)*$",
        description="Years of the source `sample`, such as `2021-2024` or `2019,2023`",
    )
    accidents_sample_people: int = Field(
        10_000, ge=10, le=5_000_000, description="Approximate road users per sample year"
    )
    accidents_window_lines: int = Field(
        50_000,
        ge=1_000,
        le=1_000_000,
        description="Distance within which the lines of an accident may lie in a scored file, in lines",
    )
    retrain_new_years: int = Field(
        1, ge=1, description="New or corrected years of accident data that trigger a retraining"
    )


class AccidentTraining(BaseModel):
    """Accident model: training and promotion."""

    accidents_feature_set: FeatureSet = Field(
        "call", description="`call`: fields known when the call comes in; `full` adds obstacle, impact and manoeuvre"
    )
    accidents_synthetic_share: float = Field(
        0.5, ge=0, le=0.9, description="Share of synthetic road users in the training set; 0.5: one per real one"
    )
    accidents_synthetic_weight: float = Field(
        0.05, ge=0, le=1, description="Training weight of a synthetic road user relative to a real one"
    )
    accidents_mask_most: float = Field(
        0.8,
        ge=0,
        le=0.95,
        description="Maximum fraction of simulated missing values in the copies of training rows; 0: no copies",
    )
    accidents_masked_weight: float = Field(
        0.4, gt=0, le=1, description="Training weight of a row with simulated missing values relative to the original"
    )
    accidents_teacher_share: float = Field(
        0.5, ge=0, le=1, description="Weight of the soft label (distillation) against the recorded label"
    )
    accidents_miss_cost: float = Field(
        4.0, gt=0, description="Cost of a missed severe injury in false alarms; determines the decision threshold"
    )
    accidents_coverage: float = Field(
        0.9,
        gt=0.5,
        lt=1,
        description="Coverage of each class, by group, of the conformal bounds behind the flag `uncertain`",
    )
    accidents_forest_trees: int = Field(
        0, ge=0, le=2_000, description="Trees of the random forest; 0: by the number of training rows, up to 80"
    )
    accidents_boosting_rounds: int = Field(
        0, ge=0, le=5_000, description="Rounds of gradient boosting; 0: by the number of training rows, up to 500"
    )
    accidents_boosting_members: int = Field(
        2, ge=1, le=10, description="Number of averaged boosters; every second one has extremely random trees"
    )
    accidents_tuning_seconds: float = Field(
        600, gt=0, description="Time budget of the job `tune_accidents`, in seconds, half for each candidate"
    )
    accidents_max_people: int = Field(
        0,
        ge=0,
        description="Maximum real road users in training: whole accidents, chosen by hash; 0: all of them",
    )
    accidents_floor: float = Field(0.7, ge=0.5, le=1, description="Minimum ROC AUC of a promoted accident model")
    accidents_minimum_gain: float = Field(
        0.0005, ge=0, description="Minimum gain of ROC AUC over the champion for a promotion"
    )


class AccidentSettings(AccidentData, AccidentTraining, Settings):
    """The platform's settings with those of the accident model."""
