"""Drift statistics, verdict and HTML report. Plain Python: no Dagster, no HTTP."""
