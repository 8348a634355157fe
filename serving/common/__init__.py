"""Shared by all services: problem+json, metrics, logging, token verification, limits."""
