"""The third model as users have it: built and installed as a package, found by its entry point."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accident_reco import registry
from accident_reco.settings import environment, plugins
from accident_reco_tests.support.running import ROOT

SOURCE = ROOT / "accident_reco_tests" / "third_model"
UV = Path(sys.executable).parent / "uv"


def install(folder: Path) -> Path:
    """Install the package into a folder of its own, without network; returns the folder for PYTHONPATH."""
    target = folder / "installed"
    command = [str(UV), "pip", "install", "--quiet", "--offline", "--no-cache", "--no-deps", "--target", str(target)]
    subprocess.run([*command, str(SOURCE)], check=True, cwd=folder, env=os.environ | {"UV_LINK_MODE": "copy"})
    assert not (SOURCE / "build").exists(), "building writes nothing beside the sources"
    return target


def python_path(target: Path) -> str:
    """PYTHONPATH of child processes that find the package."""
    return os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH", "")]))


@contextmanager
def installed(target: Path) -> Iterator[None]:
    """The package in this process, from an installed folder, and forgotten afterwards."""
    sys.path.insert(0, str(target))
    importlib.invalidate_caches()
    _forget_models()
    try:
        yield
    finally:
        sys.path.remove(str(target))
        for name in [name for name in sys.modules if name.partition(".")[0] == "diabetes_model"]:
            del sys.modules[name]
        _forget_models()


def _forget_models() -> None:
    for function in (plugins.installed_names, plugins.load_model, environment.combine, registry._load):
        function.cache_clear()
