"""The target of the model, killed or hospitalised, for arrays of `grav` codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accident_reco.models.accidents.codebook import SEVERE


def is_severe(grav: ArrayLike) -> NDArray[np.bool_]:
    """Whether each `grav` code, shape (n,), is 2 (killed) or 3 (hospitalised)."""
    return np.isin(np.asarray(grav), SEVERE)
