"""What the services share: problem+json, metrics, logging, token verification, limits."""
