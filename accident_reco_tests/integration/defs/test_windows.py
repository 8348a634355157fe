"""Where windows come from: the log, and a materialized year against the champion or another year."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from accident_reco.drift.log_window import log_windows
from accident_reco.drift.run_check import CheckRequest, NothingToCompare, run_check
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.lifecycle.platform import OpenedPlatform
from accident_reco.lifecycle.reference import build_reference, read_reference, reference_bytes
from accident_reco.lifecycle.store import ModelStore
from accident_reco.models.accidents.data.victims import build_victims
from accident_reco.models.accidents.model import MODEL
from accident_reco.models.accidents.monitoring import load_year_window
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.movies.model import MODEL as MOVIES
from accident_reco.settings import Settings
from accident_reco.storage.drift_reports import latest_report, recent_verdicts
from accident_reco.storage.objects import open_store
from accident_reco_tests.support.republished import republished


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings.load(home=tmp_path, drift_window_rows=600, drift_sample_rows=100, drift_pages_kept=2)


def year(seed: int, vma: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "Num_Acc": np.repeat(np.arange(1_000), 2) + seed * 10**6,
            "vma": rng.choice([vma, vma + 20], 2_000),
            "catu": rng.integers(1, 4, 2_000),
            "grav": rng.integers(1, 5, 2_000),
        }
    )


class Scorer:
    """Scores by nothing; only its columns matter here."""

    columns = ("vma", "catu")

    @classmethod
    def from_files(cls, files, manifest):
        return cls()

    def probability(self, columns) -> np.ndarray:
        return np.linspace(0, 1, len(columns["vma"]))


def test_is_one_year_like_another(settings, warehouse, monkeypatch) -> None:
    """Against the champion's reference, against another year; and an analyst's question moves nothing."""
    monkeypatch.setattr("accident_reco.models.accidents.scoring.scorer.AccidentScorer", Scorer)
    objects = open_store(settings.store)
    first = year(1, 50)
    kinds = {"vma": "numeric", "catu": "categorical"}
    profile = build_reference({name: first[name].to_numpy() for name in kinds}, kinds, first["Num_Acc"].to_numpy())
    bundle = Bundle("accidents", {"reference.json": reference_bytes(profile)}, {}, {"roc_auc": 0.8}, {})
    models = ModelStore(objects)
    models.point(models.write(bundle), expected=None, run_id="r", reason="first")
    for name, frame in (("2023", year(2, 50)), ("2024", year(3, 90))):
        stream = frame.to_parquet(index=False)
        objects.write(f"assets/accidents/victims/{name}.parquet", stream)
    strict = settings.model_copy(update={"drift_share": 0.5})
    like = run_check(MODEL, OpenedPlatform(strict, warehouse), CheckRequest(2023), "r")
    assert like.row["status"] == "stable"
    assert like.row["window_name"] == "partition:2023"
    assert 200 < like.performance.labels < 800  # the year's holdout
    unlike = run_check(MODEL, OpenedPlatform(strict, warehouse), CheckRequest(2024, 2023), "r")
    assert unlike.row["status"] == "drift"
    assert unlike.row["document"]["note"] == "against 2023 instead of the champion's reference"
    assert b"Compared against 2023 instead of the champion&#x27;s reference" in objects.read(unlike.row["report_key"])
    assert latest_report(warehouse, "accidents") is None
    assert recent_verdicts(warehouse, "accidents", bundle.version) == []
    run_check(MODEL, OpenedPlatform(strict, warehouse), CheckRequest(2023), "r")
    pages = objects.list("reports/drift/accidents/")
    assert len(pages) == settings.drift_pages_kept


@pytest.mark.parametrize(
    ("model", "question", "words", "without_profile"),
    [
        (MOVIES, CheckRequest(), "movies has no champion yet", "movies has no champion yet"),
        (
            MODEL,
            CheckRequest(2019),
            "2019 is not in the store; materialize it first",
            "has no reference profile; train a new version",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(settings, warehouse, model, question, words, without_profile) -> None:
    """One sentence with the fix."""
    objects = open_store(settings.store)
    profile = build_reference({"vma": np.arange(100)}, {"vma": "numeric"})
    bundle = Bundle("accidents", {"reference.json": reference_bytes(profile)}, {}, {}, {})
    models = ModelStore(objects)
    models.point(models.write(bundle), expected=None, run_id="r", reason="first")
    with pytest.raises(NothingToCompare, match=words):
        run_check(model, OpenedPlatform(settings, warehouse), question, "r")
    bare = replace(bundle, files={"other.json": b"{}"})
    models.point(models.write(bare), expected=models.pointer("accidents"), run_id="r", reason="second")
    with pytest.raises(NothingToCompare, match=without_profile):
        run_check(model, OpenedPlatform(settings, warehouse), replace(question, partition=None), "r")


def test_the_log_is_read_as_callers_spelt_it(settings, warehouse) -> None:
    """A caller writes 17:45 and the letter A; a window that took that for unknown would see no hour in any traffic."""
    from datetime import UTC, datetime

    from accident_reco.storage.prediction_log import insert_predictions

    columns = {"hrmn": np.array([730, 1745]), "actp": np.array([1, 10]), "dep": np.array(["2A", "59"], dtype=object)}
    kinds = {"hrmn": "numeric", "actp": "categorical", "dep": "categorical"}
    reference = build_reference(columns, kinds, model="accidents", data_source="sample")
    manifest = Bundle("accidents", {}, {}, {}, {}).manifest("2024-01-01T00:00:00+00:00")
    row = {
        "id": "p1",
        "request_id": "r1",
        "at": datetime.now(UTC),
        "model": "accidents",
        "version": manifest.version,
        "user_name": "ada",
        "source": "json",
        "status": 200,
        "latency_ms": 1.0,
        "score": 0.5,
        "answer": None,
        "inputs": {"hrmn": "17:45", "actp": "A", "dep": "2A"},
    }
    insert_predictions(warehouse, [row])
    platform = OpenedPlatform(settings, warehouse)
    window = log_windows(platform, MODEL.serving(), manifest, read_reference(reference_bytes(reference))).current
    assert {name: values.tolist() for name, values in window.columns.items()} == {
        "hrmn": [1745.0],
        "actp": [10],
        "dep": ["2A"],
    }


def test_labels_of_a_year_are_of_accidents_that_no_version_was_trained_on(settings, warehouse, monkeypatch) -> None:
    """2023 republished as 2024: what its first number holds out is labelled under that one, and nothing of 2024."""
    monkeypatch.setattr("accident_reco.models.accidents.scoring.scorer.AccidentScorer", Scorer)
    objects = open_store(settings.store)
    first = build_victims(sample_year(2023, 400), 2023).victims
    for an, frame in ((2023, first), (2024, republished(first, 2024))):
        objects.write(f"assets/accidents/victims/{an}.parquet", frame.to_parquet(index=False))
        objects.write(f"assets/accidents/victims/{an}.json", json.dumps({"an": an, "data_source": "sample"}).encode())
    kinds = {"vma": "numeric", "catu": "categorical"}
    reference = read_reference(reference_bytes(build_reference({n: first[n].to_numpy() for n in kinds}, kinds)))
    windows = {
        an: load_year_window(OpenedPlatform(settings, warehouse), None, reference, {}, an) for an in (2023, 2024)
    }
    held_out = np.flatnonzero(in_holdout(first["Num_Acc"].to_numpy()))
    np.testing.assert_array_equal(windows[2023].labelled.groups, first["Num_Acc"].to_numpy()[held_out])
    assert len(windows[2024].labelled.groups) == 0
    assert len(windows[2024].score) == len(first)
