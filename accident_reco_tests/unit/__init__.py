"""One module at a time, without servers and Dagster runs."""
