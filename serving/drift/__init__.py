"""Drift verdicts, reports and the alert webhook (:8001)."""
