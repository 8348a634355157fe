"""Settings: environment variables as one typed object. Imports nothing else of the platform."""

from accident_reco.settings.environment import Settings, SettingsError, unknown_settings, variable
from accident_reco.settings.groups import PREFIX

__all__ = ["PREFIX", "Settings", "SettingsError", "unknown_settings", "variable"]
