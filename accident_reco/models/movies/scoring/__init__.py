"""Recommends from one version of the movie model: numpy only, no training library, no database, no HTTP."""
