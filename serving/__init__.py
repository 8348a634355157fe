"""HTTP services over whatever the platform has promoted. Never imports Dagster or a training stack."""
