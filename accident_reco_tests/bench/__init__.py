"""Measurements of the real thing; not part of the test run."""

NAMES = ("predict", "memory", "movies", "movies_training", "accidents", "drift_vs_evidently")
"""Modules that `accident-reco bench` and `make bench` run, in this order."""
