"""Tests of `models/accidents/serving`."""
