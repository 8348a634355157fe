"""A version as an MLflow model: what `mlflow.pyfunc.load_model`, `mlflow models serve` and `predict` can load.

It has a signature, an input example, its own requirements and its own code, and no pickle. `saving` writes it, `loader`
is the code inside of it, `version` answers with it. Nothing that serves imports this package.
"""
