"""Reproduces a version from its inputs: `python -m accident_reco.defs.reproduce MODEL --from DIRECTORY`.

The directory is one that `dvc pull` filled. The platform's training assets run on it in an empty home with the settings
stored beside the data; the code must be of the same commit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import dagster as dg

from accident_reco.definitions import build_defs
from accident_reco.defs.io import BundleIOManager, FrameIOManager
from accident_reco.defs.resources import Platform
from accident_reco.defs.training_loop import training_group
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.dataset import STORE, DatasetError, read_recipe
from accident_reco.registry import all_models, models
from accident_reco.settings import PREFIX, Settings, variable

NO_TRACKER = "http://127.0.0.1:1"
"""A reproduction is not logged to MLflow."""


def reproduce(model: str, folder: Path, home: Path) -> Bundle:
    """Train on stored inputs and return the bundle. Sets the environment of this process.

    Args:
        home: empty directory to work in.

    Raises:
        DatasetError: the folder holds no inputs of this model.
    """
    recipe = read_recipe(folder)
    if recipe["model"] != model:
        raise DatasetError(f"{folder} holds inputs of {recipe['model']}, not of {model}")
    shutil.copytree(folder / STORE, home / "store")
    names = (*all_models()[model].requires, model)
    chosen = {"home": home, "mlflow_tracking_uri": NO_TRACKER, "models": ",".join(names), **recipe["settings"]}
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ |= {variable(name): str(value) for name, value in chosen.items()}
    plugins = models(Settings.load())
    training = plugins[model].training()
    os.environ |= {variable(name): value for name, value in training.restored_settings(folder).items()}
    platform = Platform(home=str(home))
    platform.warehouse.upgrade()
    training.restore_inputs(folder, platform)
    definitions = build_defs(plugins.values(), platform)
    key = dg.AssetKey([model, "candidate_model"])
    inputs = [dg.AssetKey([model, name]) for name in training.reproduction_inputs]
    groups = dg.AssetSelection.groups(*(training_group(name) for name in names))
    selected = dg.AssetSelection.assets(key).upstream() & groups
    result = dg.materialize(
        [asset for asset in definitions.assets or () if isinstance(asset, dg.AssetsDefinition)],
        selection=selected - dg.AssetSelection.assets(*inputs),
        instance=dg.DagsterInstance.ephemeral(),
        resources={
            "platform": platform,
            "frames": FrameIOManager(platform=platform),
            "bundles": BundleIOManager(platform=platform),
        },
    )
    bundle: Bundle = result.asset_value(key)
    return bundle


def main() -> int:
    """Exit code 0 for the expected version, 1 for another one, 2 for invalid inputs."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco.defs.reproduce", description=__doc__)
    parser.add_argument("model", choices=list(all_models()), help="model name")
    parser.add_argument("--from", dest="folder", type=Path, required=True, help="inputs, as fetched by `dvc pull`")
    parser.add_argument("--to", type=Path, help="write the bundle's files into this new directory")
    chosen = parser.parse_args()
    try:
        recipe = read_recipe(chosen.folder)
        with tempfile.TemporaryDirectory(prefix="reproduce-") as home:
            bundle = reproduce(chosen.model, chosen.folder.resolve(), Path(home))
    except DatasetError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if chosen.to:
        chosen.to.mkdir(parents=True)
        for name, content in bundle.files.items():
            (chosen.to / name).write_bytes(content)
    sys.stdout.write(f"{bundle.version}\n")
    if bundle.version == recipe["version"]:
        return 0
    sys.stderr.write(f"expected {recipe['version']}, which was trained by the code of {recipe['code']}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
