"""Movie data: published files, their import into the warehouse, and reading ratings back as columns."""
