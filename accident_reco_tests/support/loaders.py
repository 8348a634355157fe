"""Loaders of the installed models, as the predict service uses them."""

from __future__ import annotations

from accident_reco.registry import all_models

LOADERS = {name: model.serving().load for name, model in all_models().items()}
