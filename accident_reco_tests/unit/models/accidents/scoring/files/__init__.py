"""Tests of `models/accidents/scoring/files`."""
