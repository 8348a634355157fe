"""The guard of Dagster's and MLflow's pages: who may send what to them. `launch` starts both programs behind it."""
