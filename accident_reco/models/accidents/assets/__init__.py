"""Dagster assets, checks, jobs and sensors of the accident model; `plugin` registers them with the platform."""
