"""A loaded version outside of a server: the model's own adapter to the Open Inference Protocol, without HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.contract import Model
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.store import Pointer
from serving.predict.model_slot import Champion
from serving.predict.tensors import DTYPES, TensorSpec
from serving.predict.v2 import InferenceAdapter

MANIFEST_FILE: Final = "manifest.json"
LOG_ONLY: Final = "prediction_id"
"""Output that names an entry of the prediction log; there is none outside of a server."""


@dataclass(frozen=True)
class LoadedVersion:
    """A version and its adapter."""

    adapter: InferenceAdapter
    champion: Champion[Any]

    @classmethod
    def from_files(cls, model: Model, files: Mapping[str, bytes], manifest: Manifest) -> LoadedVersion:
        """The version of verified files. Raises ValueError, as `ModelServing.load`."""
        serving = model.serving()
        pointer = Pointer(manifest.version, manifest.sha256, manifest.created_at, "", None, "")
        loaded = serving.load(files, manifest)
        return cls(
            serving.inference(), Champion(model.name, manifest.version, loaded, manifest, pointer, origin="mlflow")
        )

    @classmethod
    def from_folder(cls, model: Model, folder: Path) -> LoadedVersion:
        """The version of a folder with the bundle's files and `manifest.json`.

        Raises:
            ValueError: a file is missing or differs from the published one.
        """
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        manifest = Manifest.parse(files.pop(MANIFEST_FILE))
        manifest.verify(files)
        return cls.from_files(model, files, manifest)

    def inputs(self) -> dict[str, TensorSpec]:
        """Input name → tensor."""
        return self.adapter.inputs(self.champion)

    def outputs(self) -> list[TensorSpec]:
        """Outputs, without the id of a log entry."""
        return [spec for spec in self.adapter.outputs() if spec.name != LOG_ONLY]

    def answer(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Columns of shape (n,) by input name → outputs of shape (n,), in calls of at most `max_rows`.

        Raises:
            ValueError: an unknown column, or a value that the endpoint refuses too; the message is the endpoint's.
        """
        known = self.inputs()
        unknown = sorted(columns.keys() - known.keys())
        if unknown:
            raise ValueError(f"unknown columns {', '.join(unknown)}; columns are {', '.join(known)}")
        typed = {name: _convert(known[name], values) for name, values in columns.items()}
        rows = len(next(iter(typed.values()), ()))
        parts = [
            self._answer({name: values[start : start + self.adapter.max_rows] for name, values in typed.items()})
            for start in range(0, rows, self.adapter.max_rows)
        ]
        return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in self.outputs() if parts}

    def _answer(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        from serving.common.problems import Problem

        try:
            result = self.adapter.infer(self.champion, columns)
        except Problem as problem:
            raise ValueError(problem.detail) from None
        return {name: values for name, (_, values) in result.outputs.items()}


def _convert(spec: TensorSpec, values: NDArray[Any]) -> NDArray[Any]:
    """A column as the adapter takes it: missing text as empty text, numbers with a missing one as float with NaN."""
    if spec.datatype == "BYTES":
        return np.array(["" if value is None or value != value else str(value) for value in values.tolist()], object)
    if values.dtype == np.object_:
        values = np.array([np.nan if value is None else value for value in values.tolist()], dtype=np.float64)
    if values.dtype.kind == "f" and (np.isnan(values).any() or (values != np.floor(values)).any()):
        return values
    return values.astype(DTYPES[spec.datatype])
