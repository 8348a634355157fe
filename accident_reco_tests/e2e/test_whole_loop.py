"""The whole loop with real processes: the program of `make drift-demo`."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from accident_reco.storage import retrain_decisions
from accident_reco.storage.lifecycle import promotion_history
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.running import ROOT

EXPECTED = (
    # stable traffic: no action
    "the policy made no decision",
    "the champion is unchanged",
    # drifted traffic: report, policy, training, gate, promotion, gauge
    "the report shows drift",
    "one window with drift is not enough",
    "the second one starts a training",
    "with the new reference the same traffic shows no drift",
    # a worse candidate: rejected, the champion stays, back-off at the next window with drift
    "the policy starts a training",
    "the gate rejected the candidate",
    "the candidate is another model than the champion",
    "it is significantly worse on the same holdout rows (95 % CI)",
    "the champion stays",
    "the policy backs off after the rejected candidate",
)


@pytest.mark.e2e
@pytest.mark.timeout(1500)
def test_the_loop_closes(tmp_path: Path) -> None:
    """Exit code 0, every expectation holds, and the audit agrees: promote, promote, refuse."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ACCIDENT_RECO_", "DAGSTER_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "accident_reco.cli", "demo", "--home", str(tmp_path)],
        cwd=ROOT,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        screen, _ = process.communicate(timeout=1400)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=30)
    assert process.returncode == 0, screen
    for what in EXPECTED:
        assert f"✔ {what}" in screen
    assert "drift_share fell from" in screen
    warehouse = Warehouse(f"sqlite:///{tmp_path / 'warehouse.db'}")
    audit = list(reversed(promotion_history(warehouse, "accidents")))
    assert [(row["action"], row["promoted"]) for row in audit] == [
        ("promote", True),
        ("promote", True),
        ("refuse", False),
    ]
    assert len({row["version"] for row in audit}) == 3
    assert re.match(r"roc_auc 0\.\d{4} vs 0\.\d{4}: gain -0\.\d{4} .* is below", audit[-1]["reason"])
    rules = [row["rule"] for row in reversed(retrain_decisions.decisions(warehouse, "accidents"))]
    assert rules == ["hysteresis", "trigger", "hysteresis", "trigger", "backoff"]
    warehouse.close()
