"""What both models share: holdout, bundle, gate, publish, rollback, retrain policy. Plain Python."""
