"""Puts the parts of the loop together for both models: where windows come from, one drift check, what people are told.

Above the domains, which do not know each other, and below Dagster and the services, which both come through here.
"""
