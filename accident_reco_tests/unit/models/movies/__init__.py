"""The movie domain: formats, rules, models, answers."""
