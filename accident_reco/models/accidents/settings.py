"""Settings of the accident model: where its data comes from, how it is trained and promoted."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from accident_reco.settings import Settings


class AccidentData(BaseModel):
    """Accident data."""

    accidents_source: str = Field(
        "sample", description="`sample`, `official`, or a directory/URL with yearly BAAC files"
    )
    accidents_watch_seconds: int = Field(
        60, ge=1, description="How often the sensors of accident data look; a publisher's server is asked once an hour"
    )
    accidents_sample_years: str = Field(
        "2021-2024",
        pattern=r"^20\d\d(-20\d\d)?(,20\d\d(-20\d\d)?)*$",
        description="Years that the source `sample` makes, such as `2021-2024` or `2019,2023`",
    )
    accidents_sample_people: int = Field(10_000, ge=10, le=5_000_000, description="Road users per made-up year, about")
    retrain_new_years: int = Field(
        1, ge=1, description="New or corrected years of accidents after which accidents are trained again"
    )


class AccidentTraining(BaseModel):
    """Accident model: training and promotion."""

    accidents_feature_set: Literal["call", "full"] = Field(
        "call", description="`call`: known when the call comes in; `full` adds obstacle, impact and manoeuvre"
    )
    accidents_synthetic_share: float = Field(
        0.5, ge=0, le=0.9, description="Share of synthetic people in the training set; 0.5 is one for each real one"
    )
    accidents_synthetic_weight: float = Field(
        0.05, ge=0, le=1, description="What a synthetic person counts in training against a real one"
    )
    accidents_mask_most: float = Field(
        0.8, ge=0, le=0.95, description="Rows are learnt again with up to this share of their fields unknown; 0: never"
    )
    accidents_masked_weight: float = Field(
        0.4, gt=0, le=1, description="What a row with fields made unknown counts in training against itself whole"
    )
    accidents_teacher_share: float = Field(
        0.5, ge=0, le=1, description="How much of what is learnt of a person is a teacher's word, not the label"
    )
    accidents_miss_cost: float = Field(
        4.0, gt=0, description="How many false alarms one missed grave injury is worth; sets the decision threshold"
    )
    accidents_coverage: float = Field(
        0.9, gt=0.5, lt=1, description="Share of either class whose true class the flag `uncertain` may not exclude"
    )
    accidents_forest_trees: int = Field(
        0, ge=0, le=2_000, description="Trees of the random forest; 0: by the number of people, up to 80"
    )
    accidents_boosting_rounds: int = Field(
        0, ge=0, le=5_000, description="Rounds of gradient boosting; 0: by the number of people, up to 350"
    )
    accidents_boosting_members: int = Field(
        2, ge=1, le=10, description="Boosters that are averaged; every second one is of extremely random trees"
    )
    accidents_tuning_seconds: float = Field(
        600, gt=0, description="Budget of the job `tune_accidents`: seconds of search, half for either candidate"
    )
    accidents_max_people: int = Field(
        200_000, ge=1_000, description="Real people that training takes at most: whole accidents, chosen by hash"
    )
    accidents_floor: float = Field(0.7, ge=0.5, le=1, description="ROC AUC below which no accident model serves")
    accidents_minimum_gain: float = Field(
        0.0005, ge=0, description="Gain of ROC AUC below which a change of accident model is not worth it"
    )


class AccidentSettings(AccidentData, AccidentTraining, Settings):
    """The platform's settings with those of the accident model."""
