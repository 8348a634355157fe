"""Training, export and evaluation of the severity model. Nothing here runs in a server."""
