"""The p-values hold what they promise, simulated: small ones are as rare as they state, for dependent rows too."""

import numpy as np

from accident_reco.drift.statistics import compare
from accident_reco.lifecycle.columns import Groups
from accident_reco.lifecycle.reference import Kind, build_reference, read_reference


def grouped_sample(rng: np.random.Generator, groups: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """People of accidents: one column of the accident, one half shared, one of 60 codes, one of each person."""
    accident = np.repeat(np.arange(groups), rng.integers(1, 6, groups))
    rows = len(accident)
    shared = rng.normal(size=groups)[accident]
    codes = rng.choice(60, size=groups, p=np.arange(1, 61) / np.arange(1, 61).sum())[accident]
    mixed = shared + rng.normal(size=rows)
    return {"shared": shared, "codes": codes, "mixed": mixed, "own": rng.normal(size=rows)}, accident


def test_p_values_hold_for_dependent_rows() -> None:
    """With people of one accident alike, p < 0.05 comes in about 5 % of identical pairs; ignoring groups, far more."""
    rng = np.random.default_rng(5)
    kinds: dict[str, Kind] = {"shared": "numeric", "codes": "categorical", "mixed": "numeric", "own": "numeric"}
    small = dict.fromkeys(kinds, 0)
    naive = dict.fromkeys(kinds, 0)
    for _ in range(200):
        columns, accident = grouped_sample(rng, 500)
        profile = read_reference(build_reference(columns, kinds, accident))
        careless = read_reference(build_reference(columns, kinds))
        columns, accident = grouped_sample(rng, 500)
        groups = Groups.from_keys(accident)
        for name in kinds:
            small[name] += compare(name, profile.columns[name], columns[name], groups).p_value < 0.05
            naive[name] += compare(name, careless.columns[name], columns[name]).p_value < 0.05
    # 22 of 200 is exceeded by chance once in 3,000 when the rate is 5 %.
    assert all(count <= 22 for count in small.values()), small
    assert naive["shared"] > 50
    assert naive["codes"] > 50
