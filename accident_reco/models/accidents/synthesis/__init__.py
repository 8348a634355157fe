"""Synthetic road users: a sequential synthesizer, the constraints on its rows, and the quality of the result."""
