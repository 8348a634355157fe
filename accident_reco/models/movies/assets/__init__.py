"""Dagster assets, checks and jobs of the movie model; `plugin` hands them to the platform."""
