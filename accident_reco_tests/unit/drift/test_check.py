"""A whole drift check: from logged rows to the document, live performance, and the drawn page."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from accident_reco.contract import Task
from accident_reco.drift.check import check, load_reference
from accident_reco.drift.html_report import MAX_BYTES, content_security_policy, render_html_report, sample_values
from accident_reco.drift.performance import calibration_error_statistic, live_performance
from accident_reco.drift.verdict import evaluate_drift
from accident_reco.drift.window import Labelled, Window, build_log_window
from accident_reco.lifecycle.bundle import Bundle, canonical_json
from accident_reco.lifecycle.reference import Kind, NumericColumn, ReferenceProfile, build_reference, reference_bytes
from accident_reco.models.accidents.monitoring import convert_inputs, get_accident_key
from accident_reco.settings import Settings

KINDS: dict[str, Kind] = {"hrmn": "numeric", "vma": "numeric", "catu": "categorical", "dep": "categorical"}
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


CLASSIFICATION = Task("classification", "roc_auc", True, ("roc_auc",))
REGRESSION = Task("regression", "rmse", False, ("rmse",))
RANKING = Task("ranking", "ndcg_at_10", True, ("rmse",), live_metric="rmse")


def accident_window(rows: list[dict[str, object]], reference: ReferenceProfile, labelled: object = ()) -> Window:
    """A window as the accident model's log leads to it: rows of one accident belong together."""
    read = [row | {"inputs": convert_inputs(row["inputs"])} if isinstance(row["inputs"], dict) else row for row in rows]
    return build_log_window(read, reference, labelled, get_accident_key)


def people(rng: np.random.Generator, rows: int, shift: int = 0) -> dict[str, np.ndarray]:
    return {
        "hrmn": (rng.integers(0, 24, rows) * 100 + 30 * rng.integers(0, 2, rows)).clip(shift * 100, 2359),
        "vma": rng.choice([30, 50, 80], rows, p=[0.2, 0.6, 0.2]) + 20 * shift,
        "catu": rng.choice([1, 2, 3], rows, p=[0.7, 0.2, 0.1] if not shift else [0.3, 0.2, 0.5]),
        "dep": np.array(rng.choice(["75", "13", "2A"], rows), dtype=object),
    }


@pytest.fixture(scope="module")
def manifest_and_reference():
    rng = np.random.default_rng(1)
    profile = build_reference(
        people(rng, 4_000),
        KINDS,
        np.repeat(np.arange(2_000), 2),
        score=rng.beta(2, 8, 4_000),
        label=rng.integers(0, 2, 4_000),
        model="accidents",
        data_source="sample",
    )
    files = {"reference.json": reference_bytes(profile)}
    bundle = Bundle("accidents", files, {}, {"roc_auc": 0.8}, {"data_source": "sample"})
    return bundle.manifest("2026-01-01T00:00:00.000+00:00"), load_reference(files)


def logged(rng: np.random.Generator, rows: int, shift: int = 0, **extra: object) -> list[dict[str, object]]:
    columns = people(rng, rows, shift)
    score = rng.beta(2, 8, rows)
    return [
        {
            "id": f"p{i}",
            "request_id": f"r{i // 2}",
            "at": NOW - timedelta(seconds=i),
            "version": "v1",
            "score": float(score[i]),
            "inputs": {
                name: values[i].item() if hasattr(values[i], "item") else values[i] for name, values in columns.items()
            }
            | {"accident": 0}
            | extra,
        }
        for i in range(rows)
    ]


def settings(tmp_path) -> Settings:
    return Settings.load(home=tmp_path)


def test_unmoved_traffic_is_stable_and_moved_traffic_drifts(manifest_and_reference, tmp_path) -> None:
    """The document that the warehouse keeps says what was compared, with what result and why."""
    manifest, reference = manifest_and_reference
    rng = np.random.default_rng(2)
    same = check(
        CLASSIFICATION,
        manifest,
        reference,
        accident_window(logged(rng, 1_500), reference),
        settings(tmp_path),
        run_id="r",
    )
    assert (same.row["status"], same.row["groups"], same.row["rows"]) == ("stable", 750, 1_500)
    moved_window = accident_window(logged(rng, 1_500, shift=1), reference)
    before = accident_window(logged(rng, 1_500), reference)
    moved = check(CLASSIFICATION, manifest, reference, moved_window, settings(tmp_path), previous=before, run_id="r")
    assert moved.row["status"] == "drift"
    assert moved.row["version"] == manifest.version
    assert moved.row["since"] == NOW - timedelta(seconds=1_499)
    features = {line["name"]: line for line in moved.row["document"]["features"]}
    assert set(features) == set(KINDS)
    assert features["vma"]["drifted"]
    assert features["catu"]["change"] == "3: 10.6% → 49.9%" or "→" in features["catu"]["change"]
    assert not features["dep"]["drifted"]
    assert moved.row["document"]["previous_window"]["status"] == "drift"
    canonical_json(moved.row["document"])  # NaN would be refused


def test_logged_inputs_become_columns_whatever_callers_sent(manifest_and_reference) -> None:
    """Unknown is unknown in every spelling; nonsense is unknown too; a column nobody sends is left out."""
    _, reference = manifest_and_reference
    rows = [
        {"id": "a", "request_id": "r1", "at": NOW, "score": 0.1, "inputs": {"hrmn": "1430", "catu": 1, "accident": 0}},
        {"id": "b", "request_id": "r1", "at": NOW, "score": None, "inputs": {"hrmn": -1, "catu": None, "accident": 0}},
        {"id": "c", "request_id": "r1", "at": NOW, "score": 0.2, "inputs": {"hrmn": "x", "catu": "3"}},
        {"id": "d", "request_id": "r2", "at": NOW, "score": 0.2, "inputs": "damaged"},
    ]
    window = accident_window(rows, reference)
    assert set(window.columns) == {"hrmn", "catu"}
    np.testing.assert_array_equal(window.columns["hrmn"], [1430, np.nan, np.nan, np.nan])
    assert window.columns["catu"].tolist() == [1, -1, 3, -1]
    assert window.groups is not None
    assert len(set(window.groups.tolist())) == 3


def test_no_traffic_is_insufficient_data(manifest_and_reference, tmp_path) -> None:
    """An empty log is never green, and draws a page all the same."""
    manifest, reference = manifest_and_reference
    window = accident_window([], reference)
    report = check(CLASSIFICATION, manifest, reference, window, settings(tmp_path), run_id="r")
    assert report.row["status"] == "insufficient_data"
    page = render_html_report(report, reference, window, 1_000).decode()
    assert "Insufficient data: no verdict" in page
    assert 'class="verdict grey"' in page


def test_live_performance_tells_a_drop_from_chance() -> None:
    """Labels that fit the scores: no drop; labels at random: a drop with its numbers; too few: said so."""
    rng = np.random.default_rng(3)
    score = rng.random(3_000)
    fitting, chance = (rng.random(3_000) < score).astype(float), (rng.random(3_000) < 0.5).astype(float)
    groups = np.repeat(np.arange(1_500), 2)
    at_training = {"roc_auc": 0.83, "average_precision": 0.83, "brier": 0.167}
    good = live_performance(CLASSIFICATION, Labelled(score, fitting, groups), at_training, 0.03)
    assert not good.dropped
    assert good.metrics["roc_auc"]["value"] == pytest.approx(0.83, abs=0.02)
    assert good.metrics["ece"]["value"] < 0.05
    bad = live_performance(CLASSIFICATION, Labelled(score, chance, groups), at_training, 0.03)
    assert bad.dropped
    assert "0.830 at training: worse by more than 0.03" in bad.reason
    few = live_performance(CLASSIFICATION, Labelled(score[:100], fitting[:100], groups[:100]), at_training, 0.03)
    assert few.reason == "100 labels, at least 200 are needed"
    one_class = live_performance(CLASSIFICATION, Labelled(score, np.ones(3_000), groups), at_training, 0.03)
    assert "fewer than 20 labels of one class" in one_class.reason


def test_live_rmse_has_its_bounds() -> None:
    """Movies: errors of 1 star against 0.87 at training is a drop; the interval is over users."""
    rng = np.random.default_rng(4)
    predicted = rng.uniform(2, 5, 2_000)
    truth = predicted + rng.normal(0, 1.0, 2_000)
    live = live_performance(RANKING, Labelled(predicted, truth, np.arange(2_000) // 10), {"rmse": 0.87}, 0.03)
    assert live.dropped
    rmse = live.metrics["rmse"]
    assert rmse["low"] < 1.0 < rmse["high"]


def test_a_regression_is_compared_in_its_own_unit() -> None:
    """RMSE of 60 mmHg or of 0.06 m: the drop is a share of the value at training, not an absolute number."""
    rng = np.random.default_rng(5)
    predicted, noise, groups = rng.uniform(100, 300, 3_000), rng.normal(0, 1, 3_000), np.arange(3_000)
    for unit in (60.0, 0.06):
        for factor, dropped in ((1.0, False), (1.04, False), (1.2, True)):
            labelled = Labelled(predicted, predicted + factor * unit * noise, groups)
            live = live_performance(REGRESSION, labelled, {"rmse": unit}, 0.03)
            assert live.dropped is dropped, (unit, factor, live.reason)
            assert ("worse by more than 3.0%" in live.reason) is dropped


def test_numbers_and_labels_of_a_regression_stay_numbers() -> None:
    """-1 is a value where a model has no such code, whole outcomes are no classes, and both reach the verdict."""
    rng = np.random.default_rng(6)
    kinds: dict[str, Kind] = {"temperature": "numeric"}
    values, truth = rng.integers(-5, 6, 2_000).astype(float), rng.integers(-3, 4, 2_000).astype(float)
    profile = build_reference({"temperature": values}, kinds, score=truth, label=truth, label_kind="numeric")
    reference = load_reference({"reference.json": reference_bytes(profile)})
    rows = [
        {
            "id": f"p{i}",
            "request_id": f"r{i}",
            "at": NOW,
            "version": "v",
            "score": float(truth[i]),
            "outcome": float(truth[i]),
            "inputs": {"temperature": float(values[i])},
        }
        for i in range(2_000)
    ]
    window = build_log_window(rows, reference, rows)
    assert not np.isnan(window.columns["temperature"]).any()
    assert window.label is not None
    assert window.label.dtype == np.float64
    verdict = evaluate_drift(reference, window.columns, window.groups, window.score, window.label)
    assert verdict.status == "stable"
    assert verdict.label is not None
    assert verdict.label.comparison.missing_current == 0.0
    assert verdict.features[0].comparison.distance == 0.0


def test_calibration_error_by_hand() -> None:
    """Scores of 0.2 where half turn out true: 0.3."""
    truth = np.tile([0.0, 1.0], 500)
    assert calibration_error_statistic(truth, np.full(1_000, 0.2))(np.ones(1_000)) == pytest.approx(0.3, abs=0.01)


def test_the_profile_remembers_its_distribution(manifest_and_reference) -> None:
    """What charts are drawn from: quantiles and shares of the sample are those of the training rows."""
    _, reference = manifest_and_reference
    column = reference.columns["hrmn"]
    assert isinstance(column, NumericColumn)
    assert np.median(sample_values(column, 999)) == pytest.approx(1200, abs=60)
    shares = np.unique(sample_values(reference.columns["catu"], 1_000).astype(str), return_counts=True)
    assert dict(zip(*shares, strict=True))["1"] == pytest.approx(700, abs=30)


@pytest.mark.slow
def test_the_page_has_the_verdict_on_top_and_asks_nothing_of_the_network(manifest_and_reference, tmp_path) -> None:
    """Red banner first, our table, Evidently's charts; < 10 MB; no address to load from; caller's text cannot run."""
    manifest, reference = manifest_and_reference
    rng = np.random.default_rng(5)
    rows = logged(rng, 1_200, shift=1)
    for row in rows[:600]:
        row["inputs"]["dep"] = "</script><script>alert(1)</script>"  # type: ignore[index]
    window = accident_window(rows, reference)
    report = check(CLASSIFICATION, manifest, reference, window, settings(tmp_path), run_id="r")
    page = render_html_report(report, reference, window, 1_000)
    text = page.decode()
    assert len(page) < MAX_BYTES
    body = text.index("<body>")
    assert text[body : body + 60].startswith('<body><section class="verdict red"><h1>Drift</h1>')
    assert "alert(1)" not in text.replace("&lt;/script&gt;&lt;script&gt;alert(1)", "")
    assert len(re.findall(r"<script", text)) <= 5
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)\s*=", text[:body] + text[-5_000:])
    policy = content_security_policy(page)
    assert "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    assert "connect-src 'none'" in policy
    bare = render_html_report(report, reference, window, 0).decode()
    assert '<section class="verdict red"><h1>Drift</h1>' in bare
    assert "<script" not in bare


def test_a_window_is_sampled_evenly() -> None:
    """First, last and what lies between, never more than asked for."""
    window = Window("log", {"x": np.arange(1_000)})
    assert window.first(3)["x"].tolist() == [0, 499, 999]
    assert len(window.first(5_000)["x"]) == 1_000
