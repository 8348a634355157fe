"""The code of a logged MLflow model (MLflow's "models from code"): loads a bundle and answers like the v2 endpoint.

MLflow copies this file into the model and runs it in the environment that loads the model, which need not have the
platform installed: what is not installed is imported from `code.zip` beside the bundle. Nothing is unpickled.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd


class BundleModel(mlflow.pyfunc.PythonModel):
    """One version of a model of the platform; columns in, columns out, as over the Open Inference Protocol."""

    def load_context(self, context: Any) -> None:
        """Load the bundle and test it, as a server does."""
        # Last, so that an installed package comes before the copy of it.
        sys.path.append(context.artifacts["code"])
        from accident_reco.mlflow_flavour.version import LoadedVersion

        module, attribute = context.model_config["model"].split(":")
        model = getattr(importlib.import_module(module), attribute)
        self._version = LoadedVersion.from_folder(model, Path(context.artifacts["bundle"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer one row per row of `model_input`, a frame of raw input columns; what is missing is unknown."""
        columns = {str(name): np.asarray(model_input[name]) for name in model_input}
        return pd.DataFrame(self._version.answer(columns))


mlflow.models.set_model(BundleModel())
