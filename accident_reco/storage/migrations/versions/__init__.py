"""Revisions, linear: one head."""
