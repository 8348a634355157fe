"""Pages of the movie model in the console."""
