"""Tests of `models/accidents/features`."""
