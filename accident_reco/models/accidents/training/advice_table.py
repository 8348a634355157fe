"""Values of every field among the training people of each group, by which `scoring.advice` finds what to ask next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from accident_reco.models.accidents.codebook import FIELDS
from accident_reco.models.accidents.scoring.advice import (
    EVERYBODY,
    MAX_VALUES,
    AdviceTable,
    FieldValues,
    find_groups,
    list_fields,
)
from accident_reco.models.accidents.training.training_rows import Columns

# Smaller groups take the values of the next larger one.
MIN_ROWS: Final = 300
# Values of a code with a smaller share are left out, and the others weigh more.
RARE: Final = 0.002


def learn_advice_table(columns: Columns, inputs: Sequence[str]) -> AdviceTable:
    """The table of real training rows with raw columns of shape (n,); `inputs` are the raw columns of the model."""
    frame, chains = pd.DataFrame(columns), np.array(find_groups(columns))
    groups: dict[str, dict[str, FieldValues]] = {}
    for group in np.unique(chains).tolist():
        rows = frame[(chains == group).any(axis=1)]
        if len(rows) < MIN_ROWS and group != EVERYBODY:
            continue
        values = {
            field: _summarise(rows[list(names)])
            for field, names in list_fields(inputs, "d" in group)
            if set(names) <= set(frame)
        }
        groups[group] = {field: found for field, found in values.items() if found is not None}
    return AdviceTable(groups)


def _summarise(rows: pd.DataFrame) -> FieldValues | None:
    """Values of a field with their weights, shape (k,), from one or more columns of rows; None where all are unknown.

    All values of codes with their shares; `MAX_VALUES` rows at equal distances in sorted order of anything else.
    """
    known = rows[(rows.notna() & (rows != -1)).iloc[:, 0]]
    if not len(known):
        return None
    counts = known.value_counts(normalize=True, dropna=False, sort=False)
    coded = all(name in FIELDS and FIELDS[name].codes is not None for name in rows.columns)
    if coded or len(counts) <= MAX_VALUES:
        counts = counts[counts >= RARE] if (counts >= RARE).any() else counts.nlargest(MAX_VALUES)
        chosen, weight = counts.index.to_frame(index=False), counts.to_numpy()
    else:
        places = ((np.arange(MAX_VALUES) + 0.5) / MAX_VALUES * len(known)).astype(int)
        chosen, weight = known.sort_values(list(rows.columns), kind="stable").iloc[places], np.ones(MAX_VALUES)
    weight = np.round(weight / weight.sum(), 6)
    return FieldValues({str(name): chosen[name].astype(rows[name].dtype).to_numpy() for name in rows.columns}, weight)
