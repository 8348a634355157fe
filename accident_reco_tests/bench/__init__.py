"""Measurements of the real thing; not part of the test run. `accident-reco bench` runs the comparisons with peers."""
