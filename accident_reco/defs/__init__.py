"""Dagster only: thin assets, checks, sensors, jobs, partitions, resources, io managers."""
