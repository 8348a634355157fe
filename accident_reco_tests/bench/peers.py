"""Programs that are compared with ours: in environments of their own, made by uv outside of the lock.

An environment stays in the folder of peers, so that only the first run installs. Licences were read at the projects;
none is AGPL, GPL, SSPL or BUSL. Nothing of a peer is shipped: who runs the comparison installs it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PROGRAMS = Path(__file__).parent / "peer_programs"
ONNX = ("onnxruntime==1.31.1", "numpy<3")
INSTALL_SECONDS = 900


@dataclass(frozen=True)
class Peer:
    """A package of its own environment.

    Args:
        package: name on the registry, with the version that the figures were taken with.
        also: what its program needs beside it.
    """

    name: str
    package: str
    licence: str
    also: tuple[str, ...] = ()

    @property
    def requirements(self) -> tuple[str, ...]:
        """Everything to install."""
        return (self.package, *self.also)

    @property
    def title(self) -> str:
        """Name, version and licence."""
        return f"{self.name} {self.package.rpartition('==')[2]} ({self.licence})"


MLSERVER = Peer("MLServer", "mlserver==1.7.1", "Apache-2.0", ONNX)
LITSERVE = Peer("LitServe", "litserve==0.2.19", "Apache-2.0", ONNX)
BENTOML = Peer("BentoML", "bentoml==1.4.40", "Apache-2.0", ONNX)
MLFLOW = Peer("mlflow models serve", "mlflow==3.17.2", "Apache-2.0", (*ONNX, "onnx==1.23.2"))
NANNYML = Peer("NannyML", "nannyml==0.13.1", "Apache-2.0", ("statsmodels",))  # imported, but not in its metadata
PEERS = (MLSERVER, LITSERVE, BENTOML, MLFLOW, NANNYML)

LICENCES_OF_THE_LOCK = {
    "scikit-surprise": "BSD-3-Clause",
    "implicit": "MIT",
    "evidently": "Apache-2.0",
    "pandas": "BSD-3-Clause",
    "fastapi": "MIT",
}
"""Peers that the platform itself depends on: they run in its environment."""


class PeerMissing(Exception):
    """A peer could not be installed or did not start; the message is one line."""


def name_of_the_lock(package: str, name: str) -> str:
    """Name, version and licence of a peer that is a dependency of the platform."""
    return f"{name} {version(package)} ({LICENCES_OF_THE_LOCK[package]})"


def find_uv() -> str | None:
    """uv of this environment, else of the PATH."""
    own = Path(sys.executable).with_name("uv")
    return str(own) if own.exists() else shutil.which("uv")


def install(peer: Peer, folder: Path, report: Callable[[str], None] = lambda line: None) -> Path:
    """Python of the peer's environment, which is made where it is missing.

    Raises:
        PeerMissing: uv is missing, or cannot install it.
    """
    key = hashlib.sha256("\n".join((sys.version, *peer.requirements)).encode()).hexdigest()[:12]
    home = folder / f"{peer.package.partition('==')[0]}-{key}"
    python = home / "bin" / "python"
    if (home / "complete").exists():
        return python
    uv = find_uv()
    if uv is None:
        raise PeerMissing("uv is missing; fix: make install, or install uv")
    report(f"installing {', '.join(peer.requirements)} into {home}")
    shutil.rmtree(home, ignore_errors=True)
    run([uv, "venv", "--quiet", "--python", sys.executable, str(home)])
    run([uv, "pip", "install", "--quiet", "--python", str(python), *peer.requirements])
    (home / "complete").touch()
    return python


def run(command: list[str]) -> None:
    """Run a command of the installation. Raises PeerMissing with the last line of its error output."""
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS, env=environment
        )
    except subprocess.TimeoutExpired:
        raise PeerMissing(f"not installed within {INSTALL_SECONDS} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise PeerMissing(" ".join(lines[-3:])[:300] or f"exit code {done.returncode}")
