"""Versions that tests promote by the gate: small bundles and a comparison that they pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.gate import Comparison, GatePolicy, Interval
from accident_reco.lifecycle.promotion import promote
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import request_work
from accident_reco_tests.support.command_line import Outcome, accident_reco
from accident_reco_tests.support.toy import open_model_store

if TYPE_CHECKING:
    from accident_reco.defs.resources import Platform

POLICY = GatePolicy("roc_auc", True, floor=0.5, minimum_gain=0.0)
BETTER = Comparison(100, 50, Interval(0.1, 0.05, 0.15))


def build_bundle(content: bytes, roc_auc: float = 0.8) -> Bundle:
    """A bundle of the accident model whose version depends on `content`."""
    return Bundle("accidents", {"model.onnx": content, "card.md": b"# Card"}, {"inputs": 3}, {"roc_auc": roc_auc}, {})


def promote_by_gate(home: Path, warehouse: Warehouse, bundle: Bundle) -> str:
    """Promote in the store of a home as a training run does; returns the version that serves afterwards."""
    outcome = promote(
        open_model_store(home), warehouse, replace(bundle, gate={}), lambda _manifest, _files: BETTER, POLICY, "run"
    )
    assert outcome.pointer is not None
    return outcome.pointer.version


def promote_candidate(platform: Platform, seed: int, run_id: str | None = None) -> str:
    """Promote a version by the gate, with its policy in the audit; returns its id."""
    candidate = Bundle(
        "accidents", {"reference.json": b"{}"}, {"seed": seed}, {"roc_auc": 0.8}, {"data_source": "sample"}
    )
    return promote(
        platform.models, platform.warehouse, candidate, lambda *_: BETTER, POLICY, run_id or f"run-{seed}"
    ).version


def roll_back(*arguments: str) -> Outcome:
    """`accident-reco rollback accidents` with a reason."""
    return accident_reco("rollback", "accidents", "--reason", "it is wrong", *arguments)


def request_rollback(warehouse: Warehouse, **detail: str | None) -> dict[str, Any]:
    """The request of a user to roll back, as the API queues it."""
    row, _ = request_work(
        warehouse,
        kind="rollback",
        model="accidents",
        source="api",
        requested_by="ada",
        reason="bad",
        detail=detail,
    )
    return row
