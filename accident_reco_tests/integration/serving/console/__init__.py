"""The console over the real services."""
