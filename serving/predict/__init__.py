"""Answers with the champion (:8000)."""
