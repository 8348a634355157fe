"""The guard of Dagster's and MLflow's pages: who may send what to them, and both web servers behind it."""
