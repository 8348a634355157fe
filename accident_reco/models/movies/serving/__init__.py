"""HTTP endpoints, tensors and feedback of the movie model; `plugin` registers them with the platform."""
