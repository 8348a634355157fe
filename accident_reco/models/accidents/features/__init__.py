"""Features of a road user: numpy only, one code for training, batch scoring and serving."""
