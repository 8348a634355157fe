"""Declared models: a folder each, whose `defs.yaml` is a component `accident_reco.ModelLoop`."""
