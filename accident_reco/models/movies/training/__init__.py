"""Trains and evaluates movie versions: rows in, bundles out. Knows neither Dagster nor HTTP."""
