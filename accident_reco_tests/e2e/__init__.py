"""Real servers, and the whole platform as processes."""
