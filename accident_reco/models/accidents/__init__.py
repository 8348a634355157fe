"""The accident model: severity of a road user's injury from the French accident files (BAAC)."""
