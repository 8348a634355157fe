"""Mutation testing of the decisions; `decisions.toml` names the modules, their tests and the accepted survivors."""
