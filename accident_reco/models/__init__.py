"""The plug-ins, a folder each, with everything special to one model. Shared code reaches them by the registry."""
