"""The life of a version in any model: holdout, bundle, gate, promotion, rollback, retraining, tracking. No Dagster."""
