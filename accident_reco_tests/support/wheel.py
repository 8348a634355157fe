"""The package as users install it: built as a wheel, in an environment of its own, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from accident_reco_tests.support.running import ROOT

UV = Path(sys.executable).parent / "uv"
PROGRAMS = ("dagster", "dagster-webserver", "dagster-daemon")
"""Console scripts of dependencies that the platform starts."""


def build_wheel(folder: Path) -> Path:
    """Build the wheel into a folder, without network."""
    command = [str(UV), "build", "--quiet", "--wheel", "--offline", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--out-dir", str(folder), str(ROOT)], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_wheel(wheel: Path, folder: Path) -> Path:
    """Install the wheel into a new environment; returns its folder of programs.

    Dependencies are those of this environment, by a .pth file: its own .pth files, and with them the checkout, are
    not read then.
    """
    venv = folder / "venv"
    subprocess.run([str(UV), "venv", "--quiet", "--offline", "--python", sys.executable, str(venv)], check=True)
    programs = venv / "bin"
    python = str(programs / "python")
    subprocess.run(
        [str(UV), "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, str(wheel)],
        check=True,
        env=os.environ | {"UV_LINK_MODE": "copy"},
    )
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    for name in PROGRAMS:
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{python}" "{Path(sys.executable).parent / name}" "$@"\n')
        program.chmod(0o755)
    return programs
