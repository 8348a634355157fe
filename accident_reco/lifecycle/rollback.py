"""Rollback as every way to it calls it: API, Dagster job, command line. Judged by the champion's own gate policy."""

from __future__ import annotations

from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.lifecycle.promotion import Outcome, rollback
from accident_reco.lifecycle.store import ModelStore, NoSuchVersion
from accident_reco.storage.warehouse import Warehouse


def roll_back(
    models: ModelStore, warehouse: Warehouse, model: str, *, version: str | None, asked_by: str, run_id: str
) -> Outcome:
    """Let `version`, or the one before the champion, serve again; audited, and the version left behind stays barred.

    The floor is the one that the champion was promoted by, as its manifest records it.

    Raises:
        NoSuchVersion: there is nothing to roll back to, or the store lacks that version.
        SwapConflict: another promotion came between.
    """
    champion = models.champion(model)
    if champion is None:
        raise NoSuchVersion(f"no {model} version serves: there is nothing to roll back from")
    policy = champion[1].gate.get("detail", {}).get("policy")
    if not policy:
        raise NoSuchVersion(f"{model} {champion[0].version} does not record the gate policy that let it serve")
    return rollback(models, warehouse, model, GatePolicy(**policy), run_id, version, asked_by)
