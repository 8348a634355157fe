"""Tests of `models/accidents`."""
