"""Bounds on the rows of single steps of a training, above which their cost would grow without a better model.

All training rows train: what is bounded is how many of them one tree sees, and what needs no more rows to be exact. The
default settings reach no bound with 200,000 real road users. Samples of the training itself are in
`training_population`; the bounds of the synthesizer are in `synthesis.sequential`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.lifecycle.holdout import in_holdout

MAX_FOREST_ROWS: Final = 300_000
"""Rows that a tree of the random forest draws."""
MIN_FOREST_LEAF: Final = 20
"""Rows of a leaf, at least, where that bound is reached: with smaller ones 80 trees would exceed a bundle's limit."""
MAX_BOOSTING_ROWS: Final = 1_000_000
"""Rows that a round of gradient boosting draws."""
MAX_SOFT_LABEL_ROWS: Final = 400_000
"""Road users that train an auxiliary model of the soft labels; all get a soft label."""
MAX_OUT_OF_TIME_ROWS: Final = 400_000
"""Road users that train a model of the out-of-time evaluation."""
MAX_ADVICE_ROWS: Final = 250_000
"""Road users of a group by which advice knows the values of a field."""
MAX_CURVE_ROWS: Final = 100_000
"""Validation rows of a learning curve."""
ENOUGH_CALIBRATION_ROWS: Final = 100_000
"""Real road users of one fold that calibrate as well as those of several."""
_SALT: Final = 0x0B00_57ED


def thin_accidents(num_acc: NDArray[np.int64], mask: NDArray[np.bool_], max_rows: int) -> NDArray[np.bool_]:
    """The rows of a mask, shape (n,); of more than `max_rows` about so many: whole accidents, chosen by hash."""
    rows = int(np.count_nonzero(mask))
    return mask if rows <= max_rows else mask & in_holdout(num_acc, share=max_rows / rows, salt=_SALT)


def thin_rows(rows: Any, max_rows: int) -> Any:
    """At most `max_rows` rows of an array or frame, at equal distances; the same object where it has no more."""
    return rows if len(rows) <= max_rows else rows[:: -(-len(rows) // max_rows)]
