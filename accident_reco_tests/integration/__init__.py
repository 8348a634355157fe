"""Several parts of the platform together, in one process."""
