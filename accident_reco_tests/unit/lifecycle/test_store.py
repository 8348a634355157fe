"""Bundles, pointer and promotion on a real directory, with the promoting process killed at every step."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accident_reco.lifecycle.holdout import in_holdout, pairs_in_holdout
from accident_reco.lifecycle.promotion import promote
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.store import ModelStore, NoSuchVersion
from accident_reco.storage.lifecycle import promotion_history
from accident_reco.storage.objects import SwapConflict
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.promotion import BETTER, POLICY, build_bundle


def test_version_is_the_content(store: ModelStore) -> None:
    """Times and run ids do not make a version; files and signature do."""
    first = build_bundle(b"one")
    assert replace(first, lineage={"dagster_run_id": "x"}, metrics={"roc_auc": 0.1}).version == first.version
    assert build_bundle(b"two").version != first.version
    assert replace(first, signature={"inputs": 4}).version != first.version


def test_writing_a_version_twice_keeps_the_first_manifest(store: ModelStore) -> None:
    """A version is immutable: what the pointer's sha256 covers never changes under it."""
    first = store.write(build_bundle(b"one"))
    again = store.write(replace(build_bundle(b"one"), lineage={"dagster_run_id": "second"}))
    assert again.raw == first.raw
    assert store.versions("accidents") == [first.version]


def test_a_changed_file_is_noticed(store: ModelStore, tmp_path: Path) -> None:
    """What was published is what is read, or an error names the file."""
    manifest = store.write(build_bundle(b"one"))
    (tmp_path / "store/models/accidents/versions" / manifest.version / "model.onnx").write_bytes(b"two")
    with pytest.raises(ValueError, match=r"model\.onnx differs from the published file"):
        store.files(manifest)


def test_unknown_versions_and_paths_are_refused(store: ModelStore) -> None:
    """No name from outside becomes a path."""
    for version in ("../../etc", "0" * 16, "", "A" * 16):
        with pytest.raises(NoSuchVersion):
            store.manifest("accidents", version)


def test_two_promotions_from_one_view_make_one_champion(store: ModelStore) -> None:
    """Compare-and-swap: the slower of two promotions loses with an error, whatever it wanted."""
    one, two = store.write(build_bundle(b"one")), store.write(build_bundle(b"two"))
    store.point(one, expected=None, run_id="r1", reason="first")
    with pytest.raises(SwapConflict):
        store.point(two, expected=None, run_id="r2", reason="late")
    pointer, manifest = store.champion("accidents")
    assert (pointer.version, manifest.raw) == (one.version, one.raw)


def test_promotion_refusal_and_rollback_are_audited(store: ModelStore, warehouse: Warehouse) -> None:
    """Every decision leaves a row, and a rolled-back version is not promoted again by itself."""
    champion = promote(store, warehouse, build_bundle(b"one"), lambda *_: BETTER, POLICY, "r1")
    assert champion.decision.promote
    same = promote(store, warehouse, build_bundle(b"one"), lambda *_: BETTER, POLICY, "r2")
    assert "serves already" in same.decision.reason
    challenger = promote(store, warehouse, build_bundle(b"two"), lambda *_: BETTER, POLICY, "r3")
    assert store.pointer("accidents").previous == champion.version
    assert store.manifest("accidents", challenger.version).gate["promote"] is True
    back = roll_back(store, warehouse, "accidents", version=None, requested_by="ada", run_id="r4")
    assert (back.version, store.pointer("accidents").version) == (champion.version, champion.version)
    again = promote(store, warehouse, build_bundle(b"two"), lambda *_: BETTER, POLICY, "r5")
    assert not again.decision.promote
    assert "rolled back by a user" in again.decision.reason
    person = roll_back(store, warehouse, "accidents", version=challenger.version, requested_by="ada", run_id="r6")
    assert store.pointer("accidents").version == person.version
    history = promotion_history(warehouse, "accidents")
    assert [row["action"] for row in history] == ["rollback", "refuse", "rollback", "promote", "refuse", "promote"]


def test_refused_candidate_leaves_nothing_behind(store: ModelStore, warehouse: Warehouse) -> None:
    """A version below the floor is discarded, not stored."""
    outcome = promote(store, warehouse, build_bundle(b"weak", roc_auc=0.4), lambda *_: BETTER, POLICY, "r1")
    assert outcome.decision.reason.endswith("is below the floor 0.5000")
    assert store.versions("accidents") == []
    assert store.pointer("accidents") is None


PROMOTE = textwrap.dedent("""
    import os, signal, sys
    from accident_reco.lifecycle import store as lifecycle_store
    from accident_reco.lifecycle.promotion import promote
    from accident_reco.storage import objects
    from accident_reco.storage.warehouse import Warehouse
    from accident_reco_tests.support.promotion import BETTER, POLICY, build_bundle

    url, database, step = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seen = 0

    def die_at(name):
        original = getattr(os, name)
        def call(*arguments, **options):
            global seen
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)
        setattr(os, name, call)

    for name in ("replace", "link", "fsync"):
        die_at(name)
    store = lifecycle_store.ModelStore(objects.open_store(url))
    promote(store, Warehouse(database), build_bundle(b"two"), lambda *_: BETTER, POLICY, "r2")
    print("finished after", seen)
""")


@pytest.mark.slow
def test_killed_at_any_step_exactly_one_champion_loads(store: ModelStore, warehouse: Warehouse, tmp_path: Path) -> None:
    """SIGKILL before each fsync, rename and link of a promotion: the old or the new champion serves, never neither."""
    old = promote(store, warehouse, build_bundle(b"one"), lambda *_: BETTER, POLICY, "r1").version
    new = build_bundle(b"two").version
    script = tmp_path / "promote.py"
    script.write_text(PROMOTE)
    root = Path(__file__).resolve().parents[3]
    served = []
    for step in range(1, 40):
        run = subprocess.run(
            [sys.executable, str(script), store.objects.url, str(warehouse.url), str(step)],
            env=os.environ | {"PYTHONPATH": str(root)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        pointer, manifest = store.champion("accidents")
        files = store.files(manifest)
        assert files["model.onnx"] == (b"one" if pointer.version == old else b"two")
        served.append(pointer.version)
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL, run.stderr
    assert served[0] == old
    assert served[-1] == new
    assert len(served) > 6


def test_holdout_is_frozen_and_fair() -> None:
    """The first rows of the holdout, pinned: a change of the hash would leak training rows into evaluation."""
    keys = 202400000001 + np.arange(100_000)
    chosen = in_holdout(keys)
    assert chosen.mean() == pytest.approx(0.2, abs=0.005)
    assert np.flatnonzero(chosen)[:8].tolist() == FROZEN
    assert pairs_in_holdout(np.arange(100_000) % 600, np.arange(100_000)).mean() == pytest.approx(0.2, abs=0.005)


FROZEN = [9, 13, 22, 23, 27, 35, 36, 38]
