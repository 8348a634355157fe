"""Dagster's side of every model: factories of assets, checks, jobs and sensors; resources, IO managers, executors.

Names no model; a model's own assets are in its folder. Domain logic is in `lifecycle`, `drift` and the models.
"""
