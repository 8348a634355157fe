"""The drift verdict: simulated to stay quiet on equal data and to find a small shift; and its table of cases."""

import numpy as np
import pytest

from accident_reco.drift.verdict import evaluate_drift
from accident_reco.lifecycle.reference import Kind, build_reference, read_reference

NUMERIC, CATEGORICAL = 20, 8
KINDS: dict[str, Kind] = {
    **{f"n{i:02}": "numeric" for i in range(NUMERIC)},
    **{f"c{i}": "categorical" for i in range(CATEGORICAL)},
}
LEVELS = (2, 3, 5, 8, 12, 20, 50, 100)
SHARES = [np.random.default_rng(level).dirichlet(np.ones(level)) for level in LEVELS]


def sample(
    rng: np.random.Generator, rows: int, *, shift: float = 0.0, shifted: int = 0, grouped: bool = False, width: int = 28
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """28 features of several shapes; the first `shifted` numeric ones move by `shift` sigma before they are shaped."""
    group = np.repeat(np.arange(rows), rng.integers(1, 5, rows))[:rows] if grouped else None
    columns: dict[str, np.ndarray] = {}
    for position in range(NUMERIC):
        values = rng.normal(size=rows)
        if group is not None:
            values = np.sqrt(0.5) * values + np.sqrt(0.5) * rng.normal(size=rows)[group]
        if position < shifted:
            values += shift
        shape = position % 4
        columns[f"n{position:02}"] = np.exp(values) if shape == 1 else np.round(values * 4) if shape == 2 else values
    for position, share in enumerate(SHARES):
        codes = rng.choice(len(share), size=rows, p=share)
        columns[f"c{position}"] = codes if group is None else codes[group]
    return dict(list(columns.items())[-width:]), group


@pytest.mark.parametrize(
    ("rows", "checks", "width", "grouped"),
    [
        (1_000, 100, 28, False),
        (1_000, 80, 28, True),
        (10_000, 14, 28, True),
        (100_000, 4, 28, True),
        (1_000_000, 2, 10, False),
    ],
)
def test_equal_data_raises_no_alarm(rows: int, checks: int, width: int, grouped: bool) -> None:
    """200 windows drawn like their reference, 10^3 to 10^6 rows: no dataset alarm, hardly ever a drifted feature."""
    rng = np.random.default_rng(rows + grouped)
    alarms = warnings = 0
    for _ in range(checks):
        columns, group = sample(rng, rows, grouped=grouped, width=width)
        reference = read_reference(build_reference(columns, {name: KINDS[name] for name in columns}, group))
        columns, group = sample(rng, rows, grouped=grouped, width=width)
        verdict = evaluate_drift(reference, columns, group)
        assert verdict.evaluated == width
        alarms += verdict.status == "drift"
        warnings += verdict.status == "warning"
    assert alarms == 0
    assert warnings <= 2


@pytest.mark.parametrize(("reference_rows", "grouped"), [(20_000, False), (20_000, True), (2_000, False)])
def test_a_small_shift_of_a_third_of_the_features_is_found(reference_rows: int, grouped: bool) -> None:
    """0.3 sigma in 10 of 28 features at 2,000 rows: what found means.

    Each of the ten is called drifted in at least 95 % of the windows; no window is green, each is amber and names them
    (a third is less than the default share of a half); where a third is the threshold, at least 95 % are red.
    """
    rng = np.random.default_rng(reference_rows + grouped)
    checks, truly = 100, [f"n{position:02}" for position in range(10)]
    found = dict.fromkeys(truly, 0)
    red = wrong = 0
    columns, group = sample(rng, reference_rows, grouped=grouped)
    reference = read_reference(build_reference(columns, KINDS, group))
    for _ in range(checks):
        columns, group = sample(rng, 2_000, shift=0.3, shifted=len(truly), grouped=grouped)
        verdict = evaluate_drift(reference, columns, group)
        assert verdict.status == "warning"
        assert verdict.reason.startswith(f"{len(verdict.drifted)} of 28 features drifted")
        for name in verdict.drifted:
            if name in found:
                found[name] += 1
            else:
                wrong += 1
        red += verdict.drifted_share >= 0.3
    assert min(found.values()) >= 0.95 * checks, found
    assert red >= 0.95 * checks
    assert wrong <= 0.01 * sum(found.values())


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
    assert verdict.has_drifted == (status == "drift")


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


def test_predictions_and_labels_that_move_warn(reference) -> None:
    """Equal inputs with other answers or other outcomes: named, with what moved."""
    rng = np.random.default_rng(12)
    columns = columns_of(rng, 2_000)
    verdict = evaluate_drift(
        reference, columns, score=rng.beta(6, 4, 2_000), label=(rng.random(900) < 0.8).astype(np.int64)
    )
    assert verdict.status == "warning"
    assert "the predictions drifted: mean 0.1971 → 0.6" in verdict.reason
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
