"""Synthetic road users: a sequential synthesizer, the constraints its people keep, and how good they are."""
