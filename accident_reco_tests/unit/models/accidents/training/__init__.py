"""Tests of `models/accidents/training`."""
