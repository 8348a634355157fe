"""The model slot: swaps, rejected versions, serving from the cache without the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from accident_reco.lifecycle.store import ModelStore
from accident_reco.storage.objects import open_store
from accident_reco_tests.support.toy import ToyScorer, load_toy, open_model_store, promote, toy_bundle
from serving.common.metrics import Metrics
from serving.predict.model_slot import ModelSlot, SlotMetrics


def make_slot(home: Path, metrics: Metrics | None = None) -> ModelSlot[ToyScorer]:
    cache = ModelStore(open_store((home / "cache").as_uri()))
    return ModelSlot(
        "accidents",
        load_toy,
        lambda: open_model_store(home),
        cache,
        SlotMetrics(metrics or Metrics()),
        poll_seconds=0.05,
    )


def test_first_champion_is_loaded(tmp_path: Path) -> None:
    """A promoted bundle serves after one poll."""
    pointer = promote(tmp_path, toy_bundle(0.9))
    slot = make_slot(tmp_path)
    slot.refresh()
    assert slot.current is not None
    assert slot.current.version == pointer.version
    assert slot.current.model.weight == 0.9
    assert slot.status()["origin"] == "store"
    assert slot.ready


def test_without_a_promotion_there_is_no_problem(tmp_path: Path) -> None:
    """Before the first promotion: no champion is not an error."""
    slot = make_slot(tmp_path)
    assert not slot.ready
    slot.refresh()
    assert slot.ready
    assert slot.current is None
    status = slot.status()
    assert (status["state"], status.get("problem")) == ("none", None)
    assert "no version was promoted yet" in status["reason"]


def test_second_promotion_is_swapped_in(tmp_path: Path) -> None:
    """After a move of the pointer the next poll serves the new version; a request that holds the old one keeps it."""
    metrics = Metrics()
    promote(tmp_path, toy_bundle(0.9))
    slot = make_slot(tmp_path, metrics)
    slot.refresh()
    held = slot.current
    promote(tmp_path, toy_bundle(0.6), reason="better")
    slot.refresh()
    assert slot.current is not None
    assert held is not None
    assert (held.model.weight, slot.current.model.weight) == (0.9, 0.6)
    assert slot.current.pointer.reason == "better"
    text = metrics.exposition().decode()
    assert f'model_info{{data_source="sample",model="accidents",version="{held.version}"}} 0.0' in text
    assert f'model_info{{data_source="sample",model="accidents",version="{slot.current.version}"}} 1.0' in text
    assert 'model_reloads_total{model="accidents",outcome="loaded"} 2.0' in text


def _damage_file(home: Path, version: str) -> None:
    path = home / "store/models/accidents/versions" / version / "weights.json"
    path.write_bytes(path.read_bytes().replace(b"0.6", b"0.7"))


def _truncate_file(home: Path, version: str) -> None:
    path = home / "store/models/accidents/versions" / version / "weights.json"
    path.write_bytes(path.read_bytes()[:-1])


def _remove_file(home: Path, version: str) -> None:
    (home / "store/models/accidents/versions" / version / "weights.json").unlink()


def _change_manifest(home: Path, version: str) -> None:
    path = home / "store/models/accidents/versions" / version / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["metrics"]["roc_auc"] = 1.0
    path.write_text(json.dumps(manifest))


def _remove_manifest(home: Path, version: str) -> None:
    (home / "store/models/accidents/versions" / version / "manifest.json").unlink()


@pytest.mark.parametrize("damage", [_damage_file, _truncate_file, _remove_file, _change_manifest, _remove_manifest])
def test_damaged_version_is_rejected_and_the_previous_one_serves(tmp_path: Path, damage: object) -> None:
    """The previous champion serves if the named bundle is damaged, and the status has the reason."""
    metrics = Metrics()
    old = promote(tmp_path, toy_bundle(0.9))
    slot = make_slot(tmp_path, metrics)
    slot.refresh()
    new = promote(tmp_path, toy_bundle(0.6))
    assert callable(damage)
    damage(tmp_path, new.version)
    slot.refresh()
    slot.refresh()
    assert slot.current is not None
    assert slot.current.version == old.version
    assert slot.ready
    assert new.version in slot.status()["problem"]
    text = metrics.exposition().decode()
    assert 'model_reloads_total{model="accidents",outcome="refused"} 1.0' in text, "not retried at once"
    assert 'model_up_to_date{model="accidents"} 0.0' in text


def test_failing_smoke_prediction_is_rejected(tmp_path: Path) -> None:
    """A bundle with intact files whose smoke prediction is invalid does not serve."""
    promote(tmp_path, toy_bundle(0.9))
    slot = make_slot(tmp_path)
    slot.refresh()
    promote(tmp_path, toy_bundle(-1.0))
    slot.refresh()
    assert slot.current is not None
    assert slot.current.model.weight == 0.9
    assert "smoke prediction" in slot.status()["problem"]


def test_pointing_back_clears_the_problem(tmp_path: Path) -> None:
    """A rollback of the pointer to the served version clears the problem."""
    promote(tmp_path, toy_bundle(0.9))
    slot = make_slot(tmp_path)
    slot.refresh()
    promote(tmp_path, toy_bundle(-1.0))
    slot.refresh()
    assert slot.problem is not None
    promote(tmp_path, toy_bundle(0.9))
    slot.refresh()
    assert slot.problem is None


def test_cache_serves_when_the_store_is_down(tmp_path: Path) -> None:
    """A process that starts without the store serves from its verified cache."""
    pointer = promote(tmp_path, toy_bundle(0.9))
    make_slot(tmp_path).refresh()
    slot = make_slot(tmp_path)

    def down() -> ModelStore:
        raise OSError("connection refused")

    slot._open_store = down
    slot.refresh()
    assert slot.current is not None
    assert (slot.current.version, slot.current.origin) == (pointer.version, "cache")
    assert "cannot be read" in slot.status()["problem"]
    assert slot.ready


def _empty_store(home: Path, version: str) -> str:
    shutil.rmtree(home / "store/models")
    return "production.json is missing"


def _store_not_mounted(home: Path, version: str) -> str:
    shutil.rmtree(home / "store")
    return f"is missing in {(home / 'store').as_uri()}"


def _file_instead_of_store(home: Path, version: str) -> str:
    _store_not_mounted(home, version)
    (home / "store").write_bytes(b"")
    return "NotADirectoryError"


def _pointer(content: bytes, words: str) -> Callable[[Path, str], str]:
    def damage(home: Path, version: str) -> str:
        (home / "store/models/accidents/production.json").write_bytes(content)
        return words

    return damage


def _version_damaged(damage: Callable[[Path, str], None]) -> Callable[[Path, str], str]:
    def damaged(home: Path, version: str) -> str:
        damage(home, version)
        return f"version {version} was rejected"

    return damaged


UNKNOWN = {
    "version": "0" * 16,
    "manifest_sha256": "0" * 64,
    "promoted_at": "",
    "run_id": "",
    "previous": None,
    "reason": "",
}
DAMAGED_STORES = {
    "empty": _empty_store,
    "not mounted": _store_not_mounted,
    "no folder": _file_instead_of_store,
    "pointer empty": _pointer(b"", "production.json is damaged"),
    "pointer cut off": _pointer(b'{"version":"0', "production.json is damaged"),
    "pointer binary": _pointer(b"\xff\x00", "production.json is damaged"),
    "pointer a list": _pointer(b"[]", "production.json is damaged"),
    "pointer of other fields": _pointer(b'{"champion":"0"}', "production.json is damaged"),
    "pointer to a number": _pointer(json.dumps(UNKNOWN | {"version": 7}).encode(), "production.json is damaged"),
    "pointer to nothing": _pointer(json.dumps(UNKNOWN).encode(), f"has no version {'0' * 16}"),
    **{
        damage.__name__: _version_damaged(damage)
        for damage in (_damage_file, _truncate_file, _remove_file, _change_manifest, _remove_manifest)
    },
}


@pytest.mark.parametrize("fault", DAMAGED_STORES)
def test_verified_cache_serves_while_the_store_is_damaged(tmp_path: Path, fault: str) -> None:
    """A process that starts with a damaged store serves its verified version, degraded, with the problem in words."""
    metrics = Metrics()
    pointer = promote(tmp_path, toy_bundle(0.6))
    make_slot(tmp_path).refresh()
    words = DAMAGED_STORES[fault](tmp_path, pointer.version)
    slot = make_slot(tmp_path, metrics)
    for _ in range(2):  # not only at the first poll
        slot.refresh()
        status = slot.status()
        assert (status["state"], status["version"], status["origin"]) == ("degraded", pointer.version, "cache")
        assert words in status["problem"]
        assert slot.ready
        assert 'model_up_to_date{model="accidents"} 0.0' in metrics.exposition().decode()


@pytest.mark.parametrize("fault", DAMAGED_STORES)
def test_without_a_cache_a_damaged_store_is_a_reason(tmp_path: Path, fault: str) -> None:
    """Without a cached version nothing serves, and the status has the reason."""
    pointer = promote(tmp_path, toy_bundle(0.6))
    words = DAMAGED_STORES[fault](tmp_path, pointer.version)
    slot = make_slot(tmp_path)
    slot.refresh()
    status = slot.status()
    assert (status["state"], slot.current) == ("none", None)
    assert words.replace("is missing in", "") in status.get("problem", status.get("reason"))


@pytest.mark.parametrize("fault", ["empty", "not mounted", "pointer cut off"])
def test_running_process_detects_a_damaged_store(tmp_path: Path, fault: str) -> None:
    """The served version stays; the status is degraded until the store is restored."""
    pointer = promote(tmp_path, toy_bundle(0.9))
    kept = shutil.copytree(tmp_path / "store", tmp_path / "kept")
    slot = make_slot(tmp_path)
    slot.refresh()
    words = DAMAGED_STORES[fault](tmp_path, pointer.version)
    slot.refresh()
    assert slot.status()["state"] == "degraded"
    assert words in slot.status()["problem"]
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    kept.rename(tmp_path / "store")
    slot.refresh()
    assert (slot.status()["state"], slot.problem) == ("serving", None)


def test_damaged_cache_is_repaired_from_the_store(tmp_path: Path) -> None:
    """A changed file in the cache is replaced from the store."""
    promote(tmp_path, toy_bundle(0.9))
    make_slot(tmp_path).refresh()
    (cached,) = (tmp_path / "cache").rglob("weights.json")
    cached.write_text(cached.read_text().replace("0.9", "0.8"))
    make_slot(tmp_path).refresh()
    shutil.rmtree(tmp_path / "store")
    slot = make_slot(tmp_path)
    slot.refresh()
    assert slot.status()["origin"] == "cache"


def test_damaged_cache_does_not_serve(tmp_path: Path) -> None:
    """The cache is verified like the store: a changed file does not serve."""
    promote(tmp_path, toy_bundle(0.9))
    make_slot(tmp_path).refresh()
    (cached,) = (tmp_path / "cache").rglob("weights.json")
    cached.write_text(cached.read_text().replace("0.9", "0.8"))
    slot = make_slot(tmp_path)

    def down() -> ModelStore:
        raise OSError("connection refused")

    slot._open_store = down
    slot.refresh()
    assert slot.current is None
    assert not slot.ready


def test_cache_keeps_champion_and_previous_version(tmp_path: Path) -> None:
    """The cache does not grow with every promotion."""
    slot = make_slot(tmp_path)
    for weight in (0.1, 0.2, 0.3, 0.4):
        promote(tmp_path, toy_bundle(weight))
        slot.refresh()
    cache = ModelStore(open_store((tmp_path / "cache").as_uri()))
    assert slot.current is not None
    assert set(cache.versions("accidents")) == {slot.current.version, slot.current.pointer.previous}
