"""Starts the platform on one machine and operates on it: status, stop, backup. Imports neither Dagster nor a model.

It prepares the embedded home, then starts and supervises the same programs that run on a cluster. Its commands are in
`accident_reco.cli`.
"""
