"""Tests of `models/accidents/scoring`."""
