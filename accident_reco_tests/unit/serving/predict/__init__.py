"""The pure parts of the predict service."""
