"""The reference profile: what it counts, how it reads unknown, that its bytes are stable and its size fits a bundle."""

import json

import numpy as np
import pytest

from accident_reco.lifecycle.columns import (
    Groups,
    categorical_design_effect,
    categories,
    code_rows,
    numeric_design_effect,
)
from accident_reco.lifecycle.reference import (
    GRID_POINTS,
    MAX_CATEGORIES,
    CategoricalColumn,
    NumericColumn,
    ProfileError,
    build_reference,
    read_reference,
    reference_bytes,
)


def test_counts_are_exact_at_the_grid() -> None:
    """The KS distance is taken at the grid: each count must be the true one, ties and rounding included."""
    rng = np.random.default_rng(1)
    values = np.where(rng.random(20_000) < 0.3, 7.0, rng.normal(0, 1 / 3, 20_000))
    values[:50] = np.nan
    column = read_reference(build_reference({"x": values}, {"x": "numeric"})).columns["x"]
    assert isinstance(column, NumericColumn)
    assert column.missing == 50
    assert column.count == 20_000
    assert len(column.grid) <= GRID_POINTS
    np.testing.assert_array_equal(column.at_or_below, [(values <= v).sum() for v in column.grid])
    np.testing.assert_array_equal(column.at, [(values == v).sum() for v in column.grid])
    assert column.at[column.grid == 7.0][0] > 5_000


def test_unknown_is_one_rule() -> None:
    """-1 in integers, NaN in floats, None and '' in texts: counted as missing, never as a value."""
    reference = read_reference(
        build_reference(
            {
                "vma": np.array([50, -1, 80], dtype=np.int16),
                "lat": np.array([48.8, np.nan, np.inf]),
                "catu": np.array([1, -1, 3], dtype=np.int16),
                "dep": np.array(["75", None, ""], dtype=object),
            },
            {"vma": "numeric", "lat": "numeric", "catu": "categorical", "dep": "categorical"},
        )
    )
    assert {name: column.missing for name, column in reference.columns.items()} == {
        "vma": 1,
        "lat": 2,
        "catu": 1,
        "dep": 2,
    }
    vma, catu, dep = reference.columns["vma"], reference.columns["catu"], reference.columns["dep"]
    assert isinstance(vma, NumericColumn)
    assert vma.grid.tolist() == [50, 80]
    assert isinstance(catu, CategoricalColumn)
    assert catu.values == (1, 3)
    assert isinstance(dep, CategoricalColumn)
    assert dep.values == ("75",)


def test_the_same_data_gives_the_same_bytes_in_any_row_order() -> None:
    """A bundle's version is a hash over its files: row order or dict order must not change it."""
    rng = np.random.default_rng(2)
    order = rng.permutation(3_000)
    columns = {"a": rng.normal(size=3_000), "b": rng.integers(0, 9, 3_000), "c": rng.choice(["x", "y"], 3_000)}
    kinds = {"a": "numeric", "b": "categorical", "c": "categorical"}
    groups = rng.integers(0, 1_000, 3_000)
    score = rng.random(3_000)
    label = rng.integers(0, 2, 3_000)
    once = build_reference(columns, kinds, groups, score, label, model="accidents", data_source="sample")
    again = build_reference(
        {name: columns[name][order] for name in ("c", "b", "a")},
        dict(reversed(kinds.items())),
        groups[order],
        score[order],
        label[order],
        model="accidents",
        data_source="sample",
    )
    assert reference_bytes(once) == reference_bytes(again)
    assert json.loads(reference_bytes(once)) == once


def test_a_profile_stays_small() -> None:
    """It is loaded with every bundle: 28 continuous features of 200,000 rows stay under 400 kB."""
    rng = np.random.default_rng(3)
    columns = {f"f{i}": rng.normal(size=200_000) for i in range(28)}
    assert len(reference_bytes(build_reference(columns, dict.fromkeys(columns, "numeric")))) < 400_000


def test_rare_categories_are_counted_as_other() -> None:
    """A column of thousands of texts (an address) cannot bloat the profile."""
    values = np.array([f"v{i}" for i in range(1_000)] + ["often"] * 10, dtype=object)
    column = read_reference(build_reference({"adr": values}, {"adr": "categorical"})).columns["adr"]
    assert isinstance(column, CategoricalColumn)
    assert len(column.values) == MAX_CATEGORIES
    assert "often" in column.values
    assert column.counts.sum() + column.other + column.missing == 1_010


def test_codes_and_texts_meet() -> None:
    """A log may give a code as text where training had a number; it is the same category."""
    known = (1, 2, 75)
    assert code_rows(categories(np.array(["75", "2", None, "9"], dtype=object)), known).tolist() == [2, 1, 4, 3]
    assert code_rows(categories(np.array([75, 2, -1, 9])), known).tolist() == [2, 1, 4, 3]
    assert code_rows(categories(np.array([75, 2, -1, 9])), ("2", "75")).tolist() == [1, 0, 3, 2]
    assert categories(np.array([1, None, 3], dtype=object)).tolist() == [1, -1, 3]
    assert categories(np.array([1.0, np.nan, 3.0])).tolist() == [1, -1, 3]


def test_rows_of_one_group_count_for_less() -> None:
    """Weather is one value per accident: 5,000 people of 1,000 accidents tell what 1,000 rows would."""
    rng = np.random.default_rng(4)
    accident = np.repeat(np.arange(1_000), 5)
    weather = rng.integers(1, 9, 1_000)[accident]
    age, speed = rng.normal(40, 15, 5_000), rng.normal(50, 20, 1_000)[accident]
    columns = {"atm": weather, "age": age, "vma": speed}
    kinds = {"atm": "categorical", "age": "numeric", "vma": "numeric"}
    reference = read_reference(build_reference(columns, kinds, accident))
    assert reference.groups == 1_000
    assert reference.columns["atm"].effective_rows == pytest.approx(1_000, rel=0.02)
    assert reference.columns["vma"].effective_rows == pytest.approx(1_000, rel=0.02)
    assert reference.columns["age"].effective_rows > 4_500
    ungrouped = read_reference(build_reference(columns, kinds))
    assert {column.effective_rows for column in ungrouped.columns.values()} == {5_000}


def test_design_effects_are_the_variance_ratio() -> None:
    """Checked against the variance of the mean over repeated grouped samples, for numbers and for categories."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(300), rng.integers(1, 6, 300))
    means, shares, numeric_effects, categorical_effects = [], [], [], []
    for _ in range(300):
        values = rng.normal(size=300)[group] + rng.normal(size=len(group))
        codes = (values > 0.5).astype(np.int64)
        groups = Groups.from_keys(group)
        assert groups is not None
        numeric_effects.append(numeric_design_effect(values, np.sort(values), groups.probe()))
        categorical_effects.append(categorical_design_effect(codes, 2, groups.probe()))
        means.append(values.mean())
        shares.append(codes.mean())
    true_numeric = np.var(means) / (2.0 / len(group))
    share = float(np.mean(shares))
    true_categorical = np.var(shares) / (share * (1 - share) / len(group))
    assert np.mean(numeric_effects) == pytest.approx(true_numeric, rel=0.2)
    assert np.mean(categorical_effects) == pytest.approx(true_categorical, rel=0.2)


@pytest.mark.parametrize(
    ("columns", "kinds", "groups", "words"),
    [
        ({"a": np.zeros(2)}, {"a": "numeric", "b": "numeric"}, None, "no array for the columns ['b']"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, {"a": "numeric", "b": "numeric"}, None, "one length"),
        ({"a": np.zeros(0)}, {"a": "numeric"}, None, "at least one row"),
        ({"a": np.zeros(2)}, {"a": "numeric"}, np.zeros(3), "3 group keys for 2 rows"),
        ({"a": np.zeros(2)}, {"a": "date"}, None, "'numeric' or 'categorical', got 'date'"),
    ],
)
def test_what_cannot_be_profiled_is_refused(columns, kinds, groups, words) -> None:
    """Each refusal names the column or the rule."""
    with pytest.raises(ProfileError) as error:
        build_reference(columns, kinds, groups)
    assert words in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"format": 2}', b'{"format": 1, "columns": {"a": 3}}'])
def test_a_file_that_is_no_profile_is_refused(content: bytes) -> None:
    """A damaged or foreign file never becomes an empty reference."""
    with pytest.raises(ProfileError):
        read_reference(content)
