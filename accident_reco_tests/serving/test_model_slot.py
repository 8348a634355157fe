"""The hot-reload slot: what is swapped in, what is refused, and what serves when the store is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accident_reco.lifecycle.store import ModelStore
from accident_reco.storage.objects import open_store
from accident_reco_tests.serving.toy import ToyScorer, load_toy, model_store, promote, toy_bundle
from serving.common.metrics import Metrics
from serving.predict.model_slot import ModelSlot, SlotMetrics


def make_slot(home: Path, metrics: Metrics | None = None) -> ModelSlot[ToyScorer]:
    cache = ModelStore(open_store((home / "cache").as_uri()))
    return ModelSlot(
        "accidents", load_toy, lambda: model_store(home), cache, SlotMetrics(metrics or Metrics()), poll_seconds=0.05
    )


def test_first_champion_is_loaded(tmp_path: Path) -> None:
    """A promoted bundle serves after one look."""
    pointer = promote(tmp_path, toy_bundle(0.9))
    slot = make_slot(tmp_path)
    slot.refresh()
    assert slot.current is not None
    assert slot.current.version == pointer.version
    assert slot.current.model.weight == 0.9
    assert slot.status()["origin"] == "store"
    assert slot.ready


def test_without_any_promotion_nothing_serves_and_nothing_is_wrong(tmp_path: Path) -> None:
    """A fresh platform: no champion is not an error."""
    slot = make_slot(tmp_path)
    assert not slot.ready
    slot.refresh()
    assert slot.ready
    assert slot.current is None
    assert slot.status() == {"state": "none"}


def test_second_promotion_is_swapped_in(tmp_path: Path) -> None:
    """The pointer moved: the next look serves the new version; a request that holds the old one keeps it."""
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
def test_damaged_version_is_refused_and_the_old_one_serves(tmp_path: Path, damage: object) -> None:
    """Whatever is wrong with the bundle that the pointer names, the previous champion answers and says why."""
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


def test_failing_smoke_prediction_is_refused(tmp_path: Path) -> None:
    """A bundle whose files are what was published but whose model answers nonsense does not serve."""
    promote(tmp_path, toy_bundle(0.9))
    slot = make_slot(tmp_path)
    slot.refresh()
    promote(tmp_path, toy_bundle(-1.0))
    slot.refresh()
    assert slot.current is not None
    assert slot.current.model.weight == 0.9
    assert "smoke prediction" in slot.status()["problem"]


def test_pointing_back_clears_the_problem(tmp_path: Path) -> None:
    """Rolling the pointer back to what serves ends the complaint."""
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
    """A process that starts while the store is gone answers from its verified cache."""
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


def test_damaged_cache_does_not_serve(tmp_path: Path) -> None:
    """The cache is verified like the store: a changed file is not answered with."""
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


def test_cache_keeps_the_champion_and_the_one_before(tmp_path: Path) -> None:
    """The cache does not grow with every promotion."""
    slot = make_slot(tmp_path)
    for weight in (0.1, 0.2, 0.3, 0.4):
        promote(tmp_path, toy_bundle(weight))
        slot.refresh()
    cache = ModelStore(open_store((tmp_path / "cache").as_uri()))
    assert slot.current is not None
    assert set(cache.versions("accidents")) == {slot.current.version, slot.current.pointer.previous}
