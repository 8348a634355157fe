"""Values of every field among the training people of each group, by which `scoring.advice` finds what to ask next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import FIELDS
from accident_reco.models.accidents.scoring.advice import (
    EVERYBODY,
    MAX_EXACT_VALUES,
    MAX_VALUES,
    TOGETHER,
    AdviceTable,
    FieldValues,
    find_groups,
    get_role,
    list_fields,
)
from accident_reco.models.accidents.scoring.user_groups import classify_surroundings, classify_users, get_codes
from accident_reco.models.accidents.training.bounds import MAX_ADVICE_ROWS, thin_rows
from accident_reco.models.accidents.training.training_rows import Columns, take

# Smaller groups take the values of the next larger one.
MIN_ROWS: Final = 300
# The roles have fields of their own: they are there however small they are.
_ALWAYS: Final = (EVERYBODY, "/1@", "/2@", "/3@")
# Values of a code with a smaller share are left out, and the others weigh more.
RARE: Final = 0.002


def learn_advice_table(columns: Columns, inputs: Sequence[str]) -> AdviceTable:
    """The table of real training rows with raw columns of shape (n,); `inputs` are the raw columns of the model."""
    groups: dict[str, dict[str, FieldValues]] = {}
    for group, members in _find_members(columns):
        if len(members) < MIN_ROWS and group not in _ALWAYS:
            continue
        chosen = thin_rows(members, MAX_ADVICE_ROWS)
        rows = pd.DataFrame({name: values[chosen] for name, values in columns.items()}, copy=False)
        values = {
            field: _summarise(rows[list(names)])
            for field, names in list_fields(inputs, get_role(group))
            if set(names) <= set(columns)
        }
        groups[group] = {field: found for field, found in values.items() if found is not None}
    return AdviceTable(groups)


def _find_members(columns: Columns) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Every group of `find_groups` in sorted order, with the positions of its rows, ascending.

    Groups depend on three codes, of which there are few combinations: each is looked up once.
    """
    kinds, roles, places = classify_users(columns), get_codes(columns, "catu"), classify_surroundings(columns)
    codes = (roles.astype(np.int64) * 16 + kinds + 1) * 16 + places + 1
    _, first, of_row = np.unique(codes, return_index=True, return_inverse=True)
    found = find_groups(take(columns, first))
    for group in sorted({group for chain in found for group in chain}):
        belongs = np.array([group in chain for chain in found])
        yield group, np.flatnonzero(belongs[of_row])


def _summarise(rows: pd.DataFrame) -> FieldValues | None:
    """Values of a field with their weights, shape (k,), from one or more columns of rows; None where all are unknown.

    All values of codes with their shares; of numbers `MAX_VALUES` rows at equal distances in sorted order, of locations
    twice as many.
    """
    lead = rows.iloc[:, 0]
    known = rows[lead.notna() & (lead != -1)]
    if not len(known):
        return None
    coded = all(name in FIELDS and FIELDS[name].codes is not None for name in rows.columns)
    chosen, share = _count_values(known)
    if coded or len(chosen) <= MAX_EXACT_VALUES:
        kept = share >= RARE if (share >= RARE).any() else share > 0
        chosen, weight = chosen[kept], share[kept]
    else:
        # A location has more to it than a number has.
        count = MAX_VALUES if len(rows.columns) < len(TOGETHER["com"]) else 2 * MAX_VALUES
        places = ((np.arange(count) + 0.5) / count * len(known)).astype(int)
        chosen, weight = known.sort_values(list(rows.columns), kind="stable").iloc[places], np.ones(count)
    weight = np.round(weight / weight.sum(), 6)
    return FieldValues({str(name): chosen[name].astype(rows[name].dtype).to_numpy() for name in rows.columns}, weight)


def _count_values(rows: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Different rows in sorted order, and the share of each."""
    if rows.shape[1] == 1 and rows.dtypes.iloc[0].kind == "i":
        # Counting the rows of a frame takes many times as long.
        values, counts = np.unique(rows.iloc[:, 0].to_numpy(), return_counts=True)
        return pd.DataFrame({rows.columns[0]: values}), counts / len(rows)
    shares = rows.value_counts(normalize=True, dropna=False, sort=False)
    found = shares.index.to_frame(index=False)
    return found.set_axis(rows.columns, axis=1), np.asarray(shares, dtype=np.float64)
