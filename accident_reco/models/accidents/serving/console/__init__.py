"""Pages of the accident model in the console."""
