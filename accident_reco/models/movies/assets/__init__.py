"""Dagster assets, checks and jobs of the movie model; `plugin` is the training half of its contract."""
