"""Tables of the prediction log and of its labels."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, DateTime, Float, Index, Integer, String, Table

from accident_reco.storage.tables import metadata

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(40), primary_key=True, comment="Prediction id of the response; generated for an error"),
    Column("request_id", String(64), nullable=False, comment="Request id; a request may have many predictions"),
    Column("at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("version", String(64), comment="Version of the prediction; empty where none was available"),
    Column("user_name", String(80), comment="Account or key of the client; empty after erasure"),
    Column("source", String(16), nullable=False, comment="Request format: json, csv or v2"),
    Column("status", Integer, nullable=False, comment="HTTP status of the response"),
    Column("score", Float, comment="Probability or value; empty for a ranking"),
    Column("answer", JSON, comment="Response besides the score: a class, items"),
    Column("latency_ms", Float, nullable=False, comment="Time of the whole request, in milliseconds"),
    Column("inputs", JSON, nullable=False, comment="Raw inputs as received: codes, ids; never engineered features"),
    Index("ix_predictions_model_at", "model", "at"),
    Index("ix_predictions_user_name", "user_name"),
    comment="Predictions, and requests that were rejected",
)

feedback = Table(
    "feedback",
    metadata,
    Column("prediction_id", String(40), primary_key=True, comment="Prediction id"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("label", JSON, comment="The label as reported, by field"),
    Column("outcome", Float, comment="The label as a number, for comparison with the score: 0 or 1, or a value"),
    Column("severity", Integer, comment="Official code `grav`, where a model has one; for older readers"),
    Column("grave", Boolean, comment="Whether killed or hospitalised; for older readers"),
    Column("user_name", String(80), comment="Account or key that reported the label; empty after erasure"),
    Column("predicted_at", DateTime(timezone=True), nullable=False, comment="UTC, time of the prediction"),
    Column("at", DateTime(timezone=True), nullable=False, comment="UTC, time of the label"),
    Index("ix_feedback_model_at", "model", "at"),
    comment="Reported labels, at most one per prediction",
)
