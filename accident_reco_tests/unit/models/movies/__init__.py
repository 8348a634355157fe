"""Tests of `models/movies`."""
