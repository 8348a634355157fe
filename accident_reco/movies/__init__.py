"""MovieLens domain: reading, training, recommending. Plain Python: no Dagster, no HTTP."""
