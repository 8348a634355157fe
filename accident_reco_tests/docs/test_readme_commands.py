"""Every command of the README runs: shell blocks against a platform that `make up` started."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from accident_reco_tests.running import ROOT, Running

pytestmark = pytest.mark.timeout(900)  # the first start trains two models
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
MAKE = re.compile(r"^make ([a-z-]+)", re.MULTILINE)
DEFAULT_PORTS = {"7999": "AUTH", "8000": "PREDICT", "8001": "DRIFT", "8080": "DAGSTER"}


def test_make_commands_are_targets() -> None:
    """`make …` is named in text and blocks; each one exists."""
    for target in sorted(set(MAKE.findall(README)) | set(re.findall(r"`make ([a-z-]+)", README))):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_every_block_runs(running: Running) -> None:
    """All blocks in one shell, as a reader types them, but for the home, the ports and the place of the environment."""
    home = running.env["ACCIDENT_RECO_HOME"]
    blocks = [block for block in BLOCKS if not MAKE.match(block)]
    assert len(blocks) >= 4
    script = "\n".join(blocks).replace("$PWD/.accident_reco", home).replace(".accident_reco/", f"{home}/")
    script = script.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    for port, service in DEFAULT_PORTS.items():
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{running.env[f'ACCIDENT_RECO_{service}_PORT']}")
    run = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script], cwd=ROOT, env=running.env, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert run.returncode == 0, f"{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
    assert '"prediction_id"' in run.stdout
    assert "personalised" in run.stdout
