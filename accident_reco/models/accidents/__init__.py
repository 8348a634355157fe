"""BAAC domain: reading, features, training, evaluation. Plain Python: no Dagster, no HTTP."""
