"""Tables of what was answered: the prediction log and the labels that came back."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, DateTime, Float, Index, Integer, String, Table

from accident_reco.storage.tables import metadata

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(40), primary_key=True, comment="Prediction id that the caller got; for an error made here"),
    Column("request_id", String(64), nullable=False, comment="Request that asked; one request may ask many times"),
    Column("at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("version", String(64), comment="Version that answered; empty when none could"),
    Column("user_name", String(80), comment="Account or key that asked; empty after erasure"),
    Column("source", String(16), nullable=False, comment="json, csv or v2: how it was asked"),
    Column("status", Integer, nullable=False, comment="HTTP status of the answer"),
    Column("score", Float, comment="Score: a probability or a value; empty for a ranking"),
    Column("answer", JSON, comment="What was answered besides the score: a class, items"),
    Column("latency_ms", Float, nullable=False, comment="Time to answer the whole request"),
    Column("inputs", JSON, nullable=False, comment="Raw inputs as they came: codes, ids; never engineered features"),
    Index("ix_predictions_model_at", "model", "at"),
    Index("ix_predictions_user_name", "user_name"),
    comment="One row per prediction, and one per rejected request",
)

feedback = Table(
    "feedback",
    metadata,
    Column("prediction_id", String(40), primary_key=True, comment="Prediction that the label is about"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("label", JSON, comment="The label as it was reported, by field"),
    Column("outcome", Float, comment="The label as a number that scores are compared with: 0 or 1, or a value"),
    Column("severity", Integer, comment="Official grav code of an accident prediction, for readers of older versions"),
    Column("grave", Boolean, comment="Whether it was killed or hospitalised, for readers of older versions"),
    Column("user_name", String(80), comment="Account or key that reported it; empty after erasure"),
    Column("predicted_at", DateTime(timezone=True), nullable=False, comment="UTC, of the prediction"),
    Column("at", DateTime(timezone=True), nullable=False, comment="UTC, of the label"),
    Index("ix_feedback_model_at", "model", "at"),
    comment="Labels that came back, at most one per prediction",
)
