"""Dagster helpers that need no instance of a home."""
