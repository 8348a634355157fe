"""Comparisons of a rollout."""
