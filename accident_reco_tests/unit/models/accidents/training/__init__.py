"""Accident models: trees, export, scoring, explanation, calibration, evaluation, synthesis."""
