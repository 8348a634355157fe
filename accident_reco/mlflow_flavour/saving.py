"""Writes a bundle as an MLflow model of the flavour `python_function`.

MLflow is imported inside the functions that call it: it takes seconds.
"""

from __future__ import annotations

import importlib
import re
import tempfile
import zipfile
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from accident_reco.contract import Model
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.mlflow_flavour.version import MANIFEST_FILE, LoadedVersion
from accident_reco.settings.plugins import find_import_path
from serving.predict.tensors import TensorSpec

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

OWN_PACKAGES: Final = ("accident_reco", "serving")
REQUIREMENTS: Final = (
    "mlflow",
    "numpy",
    "scipy",
    "pandas",
    "onnxruntime",
    "fastapi",
    "orjson",
    "pydantic-settings",
    "pyjwt",
    "python-multipart",
    "prometheus-client",
    "sqlalchemy",
    "structlog",
    "fsspec",
)
"""What the serving half of the platform imports; a model of another package adds what that package requires."""


def save_model(model: Model, bundle: Bundle) -> dict[str, bytes]:
    """The MLflow model of a bundle: path within the model → content.

    Raises:
        ValueError: the bundle does not load.
    """
    import pandas as pd
    from mlflow import pyfunc

    manifest = bundle.manifest("")
    loaded = LoadedVersion.from_files(model, bundle.files, manifest)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        folder, code = root / "bundle", root / "code.zip"
        folder.mkdir()
        for name, content in {**bundle.files, MANIFEST_FILE: manifest.raw}.items():
            (folder / name).write_bytes(content)
        import_path = find_import_path(model.name)
        packages = dict.fromkeys((*OWN_PACKAGES, import_path.partition(".")[0].partition(":")[0]))
        _write_code(code, list(packages))
        pyfunc.save_model(
            str(root / "model"),
            python_model=str(Path(__file__).with_name("loader.py")),
            artifacts={"bundle": str(folder), "code": str(code)},
            signature=build_signature(loaded),
            input_example=pd.DataFrame(loaded.adapter.example),
            pip_requirements=_pin_requirements(list(packages)),
            model_config={"model": import_path},
            metadata={
                "model": bundle.model,
                "bundle_version": bundle.version,
                "data_source": manifest.data_source,
            },
        )
        saved = [path for path in sorted((root / "model").rglob("*")) if path.is_file()]
        files = {str(path.relative_to(root / "model")): path.read_bytes() for path in saved}
    # MLflow notes where the files came from; the folders are of this machine and mean nothing elsewhere.
    for place in (f"{root}/", f"{Path(__file__).parent}/"):
        files["MLmodel"] = files["MLmodel"].replace(place.encode(), b"")
    return files


def build_signature(loaded: LoadedVersion) -> ModelSignature:
    """Columns in and out.

    MLflow's whole numbers cannot be missing, and its doubles take no whole numbers: a column that may have both is
    declared as `any`, and checked by the model.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    inputs = [
        ColSpec(_get_column_type(spec) or AnyType(), name, required=spec.required)
        for name, spec in loaded.inputs().items()
    ]
    outputs = [ColSpec(_get_column_type(spec), spec.name) for spec in loaded.outputs()]
    return ModelSignature(Schema(inputs), Schema(outputs))


def _get_column_type(spec: TensorSpec) -> str | None:
    if spec.datatype in ("BYTES", "BOOL"):
        return {"BYTES": "string", "BOOL": "boolean"}[spec.datatype]
    if not spec.required:
        return None
    return "long" if spec.datatype.startswith("INT") else "double"


def _write_code(path: Path, packages: list[str]) -> None:
    """The source of the packages as a zip that Python imports from; the same source gives the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in packages:
            root = Path(str(importlib.import_module(package).__file__)).parent
            for file in sorted(root.rglob("*.py")):
                entry = zipfile.ZipInfo(f"{package}/{file.relative_to(root)}")
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)


def _pin_requirements(packages: list[str]) -> list[str]:
    """The installed versions of what the code imports."""
    names = list(REQUIREMENTS)
    distributions = packages_distributions()
    for package in packages:
        if package in OWN_PACKAGES:
            continue
        for distribution in distributions.get(package, []):
            declared = [entry for entry in requires(distribution) or [] if "extra ==" not in entry]
            names += [re.split(r"[^\w.-]", entry, maxsplit=1)[0] for entry in declared]
    pinned = {name.lower().replace("_", "-"): name for name in names if name.replace("_", "-") != "accident-reco"}
    return [f"{name}=={version(name)}" for name in pinned]
