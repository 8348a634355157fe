"""Dagster assets, checks, jobs and sensors of the accident model."""

from accident_reco.models.accidents.assets import ingest, scoring, sensors, training, training_checks

__all__ = ["ingest", "scoring", "sensors", "training", "training_checks"]
