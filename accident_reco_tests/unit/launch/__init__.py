"""Running platforms: locks, signals, child processes."""
