"""HTTP endpoints, tensors and feedback of the accident model; `plugin` registers them with the platform."""
