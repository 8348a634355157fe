"""Progression of diabetes one year ahead: a regression as a plug-in of the platform."""
