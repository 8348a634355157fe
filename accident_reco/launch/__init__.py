"""Starts the platform on one machine: `python -m accident_reco.launch`. Imports neither Dagster nor a model.

It prepares the embedded home, then starts and supervises the same programs that run on a cluster.
"""
