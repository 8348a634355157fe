"""Dagster assets, checks, jobs and sensors of the accident model; `plugin` hands them to the platform."""
