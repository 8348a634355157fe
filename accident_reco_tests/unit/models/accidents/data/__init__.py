"""Tests of `models/accidents/data`."""
