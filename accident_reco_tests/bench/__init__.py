"""Measurements of the real thing; not part of the test run."""
