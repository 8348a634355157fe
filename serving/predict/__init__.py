"""The predict service (:8000): serves predictions of the promoted models."""
