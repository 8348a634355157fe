"""Tests, in folders by what they need: `unit`, `integration`, `e2e`; what they share is in `support`."""
