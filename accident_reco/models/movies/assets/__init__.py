"""Dagster assets, checks and jobs of the movie model."""

from accident_reco.models.movies.assets import ingest, training

__all__ = ["ingest", "training"]
