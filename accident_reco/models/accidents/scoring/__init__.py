"""Scoring and explaining with a trained version: numpy and onnxruntime only. Training is in `training`."""
