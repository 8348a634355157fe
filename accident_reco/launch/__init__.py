"""Starts the platform on one machine: `python -m accident_reco.launch`. Imports neither Dagster nor a model.

What it starts are the same programs that run on a cluster; it only prepares the embedded home and keeps them company.
"""
