"""The drift verdict's rules: status and reason by the share of moved features, and the edges of every threshold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accident_reco.drift.statistics import Comparison, benjamini_hochberg
from accident_reco.drift.verdict import Evidence, FeatureVerdict, Thresholds, decide_status, evaluate_drift
from accident_reco.lifecycle.reference import build_reference, read_reference
from accident_reco.settings import Settings


def columns_of(rng: np.random.Generator, rows: int, moved: int = 0) -> dict[str, np.ndarray]:
    return {f"f{i}": rng.normal(1.0 if i < moved else 0.0, 1.0, rows) for i in range(10)}


@pytest.fixture(scope="module")
def reference():
    rng = np.random.default_rng(7)
    columns = columns_of(rng, 5_000)
    return read_reference(
        build_reference(
            columns,
            dict.fromkeys(columns, "numeric"),
            np.repeat(np.arange(2_500), 2),
            score=rng.beta(2, 8, 5_000),
            label=rng.integers(0, 2, 5_000),
            model="accidents",
            data_source="sample",
        )
    )


@pytest.mark.parametrize(
    ("rows", "moved", "status", "words"),
    [
        (2_000, 0, "stable", "none of 10 features drifted"),
        (2_000, 1, "warning", "1 of 10 features drifted (10%), below the threshold of 50%: f0"),
        (2_000, 4, "warning", "4 of 10 features drifted (40%)"),
        (2_000, 5, "drift", "5 of 10 features drifted (50%), at or above the threshold of 50%: f0, f1, f2, f3, f4"),
        (2_000, 10, "drift", "f7 and 2 more"),
        (499, 10, "insufficient_data", "499 rows, at least 500 are needed"),
        (0, 0, "insufficient_data", "0 rows, at least 500 are needed"),
    ],
)
def test_table_of_verdicts(reference, rows: int, moved: int, status: str, words: str) -> None:
    """Status and the reason that people read, by the share of moved features; too few rows is never green."""
    verdict = evaluate_drift(reference, columns_of(np.random.default_rng(8), rows, moved))
    assert verdict.status == status
    assert words in verdict.reason


def test_many_rows_of_few_users_are_insufficient(reference) -> None:
    """2,000 ratings of ten users say little about all users, however far they moved."""
    verdict = evaluate_drift(reference, columns_of(np.random.default_rng(9), 2_000, 10), np.repeat(np.arange(10), 200))
    assert verdict.status == "insufficient_data"
    assert verdict.reason == "2000 rows of 10 groups, at least 30 groups are needed"


def test_fields_that_are_left_out_warn_and_do_not_alarm(reference) -> None:
    """Short requests leave fields unknown: that is said, but no retraining brings the fields back."""
    columns = columns_of(np.random.default_rng(10), 2_000)
    for name in ("f0", "f1", "f2", "f3"):
        columns[name] = np.full(2_000, np.nan)
    verdict = evaluate_drift(reference, columns)
    assert verdict.status == "warning"
    assert verdict.reason == "the missing rate changed in f0, f1, f2, f3"
    assert verdict.evaluated == 6
    for name in columns:
        columns[name] = np.full(2_000, np.nan)
    nothing = evaluate_drift(reference, columns)
    assert nothing.status == "insufficient_data"
    assert nothing.reason == "0 of 10 features have 100 effective rows of known values"


def test_a_column_that_the_window_lacks_is_not_judged(reference) -> None:
    """A log of an older version without a feature: the rest is judged, more than half must be there."""
    columns = columns_of(np.random.default_rng(11), 2_000, 4)
    some = {name: columns[name] for name in ("f0", "f1", "f2", "f3", "f4", "f5")}
    verdict = evaluate_drift(reference, some)
    assert verdict.status == "drift"
    assert verdict.evaluated == 6
    few = {name: columns[name] for name in ("f0", "f1")}
    assert evaluate_drift(reference, few).status == "insufficient_data"


def test_predictions_that_move_far_alarm_and_labels_warn(reference) -> None:
    """Inputs that look equal one by one with other answers or other outcomes: named, with what moved."""
    rng = np.random.default_rng(12)
    columns = columns_of(rng, 2_000)
    outcomes = (rng.random(900) < 0.8).astype(np.int64)
    verdict = evaluate_drift(reference, columns, score=rng.beta(6, 4, 2_000), label=outcomes)
    assert verdict.status == "drift"
    assert verdict.reason.startswith("the predictions drifted: mean 0.1971 → 0.6")
    assert "standard deviations, at or above the threshold of 0.5; the labels drifted: " in verdict.reason
    slightly = evaluate_drift(reference, columns, score=rng.beta(2.4, 8, 2_000), label=outcomes)
    assert slightly.status == "warning"
    assert "standard deviations, below the threshold of 0.5" in slightly.reason
    assert "the labels drifted: " in verdict.reason
    assert verdict.prediction is not None
    assert verdict.prediction.drifted
    same = evaluate_drift(reference, columns, score=rng.beta(2, 8, 2_000), label=rng.integers(0, 2, 900))
    assert same.status == "stable"


def test_a_tail_counts_by_its_stability_index(reference) -> None:
    """Little probability can move far: 7 % of the rows into the last decile's tail passes the PSI, not the distance."""
    rng = np.random.default_rng(13)
    base = np.where(rng.random(50_000) < 0.002, 1, 0)
    profile = read_reference(build_reference({"x": base}, {"x": "categorical"}))
    moved = evaluate_drift(profile, {"x": np.where(rng.random(5_000) < 0.075, 1, 0)})
    comparison = moved.features[0].comparison
    assert comparison.distance < 0.08
    assert comparison.psi >= 0.2
    assert moved.features[0].drifted


def cycle(rows: int, start: int = 0, unknown: int = 0) -> np.ndarray:
    """Values from `start` to 9 in turn: the distance from all ten is start/10. The first `unknown` are missing."""
    values = (np.arange(rows) % (10 - start) + start).astype(float)
    values[:unknown] = np.nan
    return values


def profile(columns: int = 2, rows: int = 1_000):
    names = [f"f{i}" for i in range(columns)]
    return read_reference(
        build_reference(
            {name: cycle(rows) for name in names},
            dict.fromkeys(names, "numeric"),
            score=cycle(rows),
            label=cycle(rows).astype(int),
        )
    )


SMALL = {"min_rows": 10, "min_effective_rows": 10, "min_groups": 2}
HUGE = float("inf")


def just_above(value: float) -> float:
    return float(np.nextafter(value, HUGE))


def just_below(value: float) -> float:
    return float(np.nextafter(value, -HUGE))


MOVED = {"f0": cycle(600, start=2), "f1": cycle(600)}


@pytest.mark.parametrize("size", ["distance", "psi"])
def test_an_effect_exactly_at_its_threshold_counts(size: str) -> None:
    """Distance or stability index: either one is enough, at the threshold itself, and no longer just above it."""
    other = {"distance": HUGE, "psi": HUGE}
    found = getattr(evaluate_drift(profile(), MOVED, thresholds=Thresholds(**SMALL)).features[0].comparison, size)
    at, above = (Thresholds(**SMALL, **other | {size: limit}) for limit in (found, just_above(found)))
    assert evaluate_drift(profile(), MOVED, thresholds=at).features[0].drifted is True
    assert evaluate_drift(profile(), MOVED, thresholds=above).features[0].drifted is False


def test_a_p_value_exactly_at_alpha_counts() -> None:
    """Both p-values, of the values and of how many are unknown: at alpha drifted, just above alpha not."""
    columns = {"f0": cycle(60, start=2), "f1": cycle(60, unknown=9)}
    reference = profile(rows=100)
    moved, missing = evaluate_drift(reference, columns, thresholds=Thresholds(**SMALL)).features
    p_missing = float(benjamini_hochberg(np.array([1.0, missing.comparison.missing_p_value]))[1])
    assert 0 < moved.p_adjusted < 1
    for p_value, position, flag in ((moved.p_adjusted, 0, "drifted"), (p_missing, 1, "missing_drifted")):
        for alpha, expected in ((p_value, True), (just_below(p_value), False)):
            verdict = evaluate_drift(reference, columns, thresholds=Thresholds(**SMALL, alpha=alpha))
            assert getattr(verdict.features[position], flag) is expected


@pytest.mark.parametrize(("factor", "expected"), [(1.0, True), (1.0 + 1e-12, False)])
def test_a_change_of_unknown_values_exactly_at_its_threshold_counts(factor: float, expected: bool) -> None:
    """A quarter more unknown values, at a threshold of a quarter; certain though it is, less is no warning."""
    columns = {"f0": cycle(600, unknown=150), "f1": cycle(600)}
    verdict = evaluate_drift(profile(), columns, thresholds=Thresholds(**SMALL, missing=0.25 * factor))
    assert verdict.features[0].missing_drifted is expected
    assert verdict.features[1].missing_drifted is False
    assert verdict.status == ("warning" if expected else "stable")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"min_rows": 600, "min_groups": 300, "min_effective_rows": 300}, "none of 2 features drifted"),
        ({"min_rows": 601, "min_groups": 300, "min_effective_rows": 300}, "600 rows, at least 601 are needed"),
        (
            {"min_rows": 600, "min_groups": 301, "min_effective_rows": 300},
            "600 rows of 300 groups, at least 301 groups are needed",
        ),
        (
            {"min_rows": 600, "min_groups": 300, "min_effective_rows": 301},
            "0 of 2 features have 301 effective rows of known values",
        ),
    ],
)
def test_exactly_enough_data_is_enough(limits: dict[str, int], reason: str) -> None:
    """600 rows in equal pairs: 600 rows, 300 groups, worth 300 independent rows; one more of any is insufficient."""
    rows = np.repeat(cycle(300), 2)
    verdict = evaluate_drift(profile(), {"f0": rows, "f1": rows}, np.arange(600) // 2, thresholds=Thresholds(**limits))
    assert verdict.reason == reason
    assert verdict.status == ("stable" if reason.startswith("none") else "insufficient_data")


@pytest.mark.parametrize(
    ("columns", "present", "status"),
    [(4, 2, "stable"), (5, 2, "insufficient_data"), (1, 1, "stable"), (1, 0, "insufficient_data")],
)
def test_half_of_the_features_are_enough(columns: int, present: int, status: str) -> None:
    """Exactly half may be judged for all; fewer may not, and none is never green."""
    window = {f"f{i}": cycle(600) for i in range(present)} | {"unknown column": cycle(600)}
    verdict = evaluate_drift(profile(columns), window, thresholds=Thresholds(**SMALL))
    assert (verdict.status, verdict.evaluated) == (status, present)


def test_a_profile_without_features_is_never_green() -> None:
    """Nothing to judge is insufficient data, even where no rows are asked for."""
    empty = replace(profile(), columns={})
    verdict = evaluate_drift(empty, {}, np.zeros(0), thresholds=Thresholds(min_rows=0, min_groups=0))
    assert verdict.status == "insufficient_data"
    assert verdict.reason == "0 of 0 features have 100 effective rows of known values"
    assert (verdict.rows, verdict.groups, verdict.drifted_share) == (0, None, 0.0)


def test_a_verdict_carries_what_it_was_made_of() -> None:
    """Rows, groups, shares, every feature in the profile's order, and the thresholds that applied."""
    limits = Thresholds(**SMALL, share=0.6)
    verdict = evaluate_drift(profile(), dict(reversed(MOVED.items())), np.arange(600) // 2, thresholds=limits)
    assert (verdict.rows, verdict.groups, verdict.evaluated) == (600, 300, 2)
    assert (verdict.drifted, verdict.drifted_share) == (("f0",), 0.5)
    assert [feature.comparison.name for feature in verdict.features] == ["f0", "f1"]
    assert (verdict.prediction, verdict.label) == (None, None)
    assert verdict.thresholds is limits
    assert verdict.reason == "1 of 2 features drifted (50%), below the threshold of 60%: f0"


def test_answers_and_labels_of_the_windows_rows_share_its_groups() -> None:
    """Of the same rows they are as dependent as these; of another number of rows they stand for themselves."""
    rows = np.repeat(cycle(300), 2)
    groups = np.arange(600) // 2
    window = {"f0": rows, "f1": rows}
    same = evaluate_drift(profile(), window, groups, rows, rows.astype(int), Thresholds(**SMALL))
    fewer = evaluate_drift(profile(), window, groups, rows[:400], rows[:400].astype(int), Thresholds(**SMALL))
    for verdict, effective in ((same, 300.0), (fewer, 400.0)):
        assert verdict.prediction is not None
        assert verdict.label is not None
        for answer, name in ((verdict.prediction, "score"), (verdict.label, "label")):
            assert answer.comparison.name == name
            assert answer.comparison.effective_rows == pytest.approx(effective)
            assert answer.drifted is False


def test_every_kind_of_change_is_named_in_one_warning() -> None:
    """Features below the threshold, unknown values, predictions and labels, in this order."""
    columns = MOVED | {"f1": cycle(600, unknown=300)}
    moved = cycle(600, start=5)
    limits = Thresholds(**SMALL, share=0.6, importance=0.8, prediction=1.0)
    verdict = evaluate_drift(profile(), columns, None, moved, moved.astype(int), limits, {"f0": 3.0, "f1": 1.0})
    assert (verdict.status, verdict.drifted_importance) == ("warning", 0.75)
    assert verdict.reason == (
        "1 of 2 features drifted (50%), below the threshold of 60%: f0; "
        "they have 75% of the model's importance, below the threshold of 80%; the missing rate changed in f1; "
        "the predictions drifted: mean 4.5 → 7, 0.87 standard deviations, below the threshold of 1; "
        "the labels drifted: 0: 10.0% → 0.0%"
    )


@pytest.mark.parametrize(("drifted", "words"), [(8, "f6, f7"), (9, "f7 and 1 more")])
def test_eight_names_are_listed(drifted: int, words: str) -> None:
    """Reasons stay readable: eight names, then a number."""
    verdict = evaluate_drift(
        profile(drifted), {f"f{i}": cycle(600, start=5) for i in range(drifted)}, thresholds=Thresholds(**SMALL)
    )
    assert verdict.reason.endswith(words)


def test_reasons_of_features() -> None:
    """Sizes for all that were judged, what moved for the drifted, what is unknown where that changed or prevents it."""
    columns = {
        "f0": cycle(600, start=5),
        "f1": cycle(600),
        "f2": np.append(cycle(300, start=5), np.full(300, np.nan)),
        "f3": np.append(cycle(5), np.full(595, np.nan)),
    }
    verdict = evaluate_drift(profile(4), columns, thresholds=Thresholds(**SMALL))
    sizes = [
        f"distance {f.comparison.distance:.3f}, PSI {f.comparison.psi:.3f}, adjusted p {f.p_adjusted:.2g}"
        for f in verdict.features
    ]
    assert [feature.reason for feature in verdict.features] == [
        f"mean 4.5 → 7 ({sizes[0]})",
        sizes[1],
        f"mean 4.5 → 7 ({sizes[2]}); missing 0.0% → 50.0%",
        "not evaluated: 5 effective rows of known values, 10 are needed; missing 0.0% → 99.2%",
    ]
    assert [feature.drifted for feature in verdict.features] == [True, False, True, None]
    # The feature that is not judged takes no part in the adjustment.
    p_values = np.array([feature.comparison.p_value for feature in verdict.features])
    adjusted = benjamini_hochberg(np.append(p_values[:3], np.nan))
    np.testing.assert_array_equal([feature.p_adjusted for feature in verdict.features], adjusted)


def test_every_setting_of_the_thresholds_applies(tmp_path: Path) -> None:
    """Each configured threshold is the value of its own setting; the others keep their defaults."""
    settings = Settings.load(
        home=tmp_path,
        drift_share=0.25,
        drift_importance=0.3,
        drift_prediction=0.7,
        drift_alpha=0.02,
        drift_distance=0.125,
        drift_psi=0.375,
        drift_min_rows=700,
        drift_min_groups=40,
    )
    assert Thresholds.from_settings(settings) == Thresholds(
        share=0.25,
        importance=0.3,
        prediction=0.7,
        alpha=0.02,
        distance=0.125,
        psi=0.375,
        min_rows=700,
        min_groups=40,
    )


NAN = float("nan")


def answers(shift: float, drifted: bool = True) -> FeatureVerdict:
    """Predictions whose mean moved by `shift` standard deviations."""
    comparison = Comparison("score", "numeric", "ks", 900, 900.0, 0.3, 0.0, 0.3, 0.4, 0.0, 0.0, 1.0, "0 → 1", shift)
    return FeatureVerdict(comparison, 0.0, drifted, False, "")


def evidence(**changes: object) -> Evidence:
    """Enough data of ten columns without any change; `changes` replace its values."""
    return replace(Evidence(rows=500, groups=30, columns=10, evaluated=10, drifted=()), **changes)


WEIGHTS = {"a": 0.3, "b": 0.2, "c": 0.5}


@pytest.mark.parametrize(
    ("found", "status", "reason"),
    [
        ({}, "stable", "none of 10 features drifted"),
        (
            {"drifted": ("b", "a"), "importance": WEIGHTS},
            "drift",
            (
                "they have 50% of the model's importance, at or above the threshold of 50%: a, b; "
                "2 of 10 features drifted (20%), below the threshold of 50%: b, a"
            ),
        ),
        (
            {"drifted": ("a", "c"), "importance": WEIGHTS},
            "drift",
            (
                "they have 80% of the model's importance, at or above the threshold of 50%: c, a; "
                "2 of 10 features drifted (20%), below the threshold of 50%: a, c"
            ),
        ),
        (
            {"drifted": ("a",), "importance": WEIGHTS},
            "warning",
            (
                "1 of 10 features drifted (10%), below the threshold of 50%: a; "
                "they have 30% of the model's importance, below the threshold of 50%"
            ),
        ),
        (
            {"drifted": ("b",), "evaluated": 2, "columns": 2, "importance": WEIGHTS},
            "drift",
            (
                "1 of 2 features drifted (50%), at or above the threshold of 50%: b; "
                "they have 20% of the model's importance, below the threshold of 50%"
            ),
        ),
        (
            {"prediction": answers(0.5)},
            "drift",
            "the predictions drifted: 0 → 1, 0.50 standard deviations, at or above the threshold of 0.5",
        ),
        (
            {"prediction": answers(-0.5)},
            "drift",
            "the predictions drifted: 0 → 1, 0.50 standard deviations, at or above the threshold of 0.5",
        ),
        (
            {"prediction": answers(-0.49)},
            "warning",
            "the predictions drifted: 0 → 1, 0.49 standard deviations, below the threshold of 0.5",
        ),
        ({"prediction": answers(NAN)}, "warning", "the predictions drifted: 0 → 1"),
        ({"prediction": answers(9.0, drifted=False)}, "stable", "none of 10 features drifted"),
        ({"label": answers(9.0)}, "warning", "the labels drifted: 0 → 1"),
        ({"label": answers(9.0, drifted=False)}, "stable", "none of 10 features drifted"),
        ({"missing": ("a", "b")}, "warning", "the missing rate changed in a, b"),
        (
            {"prediction": answers(2.0), "rows": 499},
            "insufficient_data",
            "499 rows, at least 500 are needed",
        ),
    ],
)
def test_each_kind_of_evidence_decides_by_its_own_effect(found: dict, status: str, reason: str) -> None:
    """Share, importance and mean prediction are decisive, each at its threshold; missing values and labels warn."""
    assert decide_status(evidence(**found), Thresholds()) == (status, reason)


def test_importance_is_shared_among_the_columns_of_the_profile() -> None:
    """Any scale; importances of other columns and below zero do not count; without any there is no weighted share."""
    window = {"f0": cycle(600, start=5), "f1": cycle(600), "f2": cycle(600)}
    limits = Thresholds(**SMALL)
    weighted = evaluate_drift(profile(3), window, thresholds=limits, importances={"f0": 2.0, "f1": 6.0, "other": 50.0})
    assert [feature.importance for feature in weighted.features] == [0.25, 0.75, 0.0]
    assert weighted.drifted_importance == 0.25
    negative = evaluate_drift(profile(3), window, thresholds=limits, importances={"f0": 2.0, "f1": -6.0})
    assert (negative.drifted_importance, negative.status) == (1.0, "drift")
    for nothing in (None, {}, {"other": 1.0}, {"f0": 0.0}):
        unweighted = evaluate_drift(profile(3), window, thresholds=limits, importances=nothing)
        assert (unweighted.drifted_importance, unweighted.status) == (None, "warning")
        assert "importance" not in unweighted.reason
        assert [feature.importance for feature in unweighted.features] == [None, None, None]


def test_the_importance_of_a_column_that_the_window_lacks_does_not_count_as_drifted() -> None:
    """The total stays that of all columns: what is not sent is not evidence, neither for nor against."""
    window = {"f0": cycle(600, start=5), "f1": cycle(600)}
    importances = {"f0": 0.2, "f1": 0.1, "f2": 0.7}
    verdict = evaluate_drift(profile(3), window, thresholds=Thresholds(**SMALL, share=0.6), importances=importances)
    assert verdict.drifted_importance == pytest.approx(0.2)
    assert verdict.status == "warning"
