"""Ids and numbers that are kept as text, as other programs write them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook.notation import has_lost_digits

NUMBERED: Final = frozenset({"voie", "v1"})
IDS: Final = frozenset({"id_vehicule", "id_usager"})


def strip_decimals(texts: NDArray[np.object_], name: str) -> NDArray[np.object_]:
    """Texts of a column, shape (n,), without the decimals of floats in road numbers, and without 0 as an id."""
    if name in IDS:
        texts = texts.copy()
        texts[texts == "0"] = None
    if name not in NUMBERED:
        return texts
    stripped: Any = pc.replace_substring_regex(pa.array(texts, pa.string()), r"^\s*(\d+)[.,]0\s*$", r"\1")
    return stripped.to_numpy(zero_copy_only=False)


def find_lost_ids(column: pa.Array, ids: NDArray[np.object_]) -> NDArray[np.intp]:
    """Rows of a raw column whose id is missing because scientific notation has lost its last digits."""
    missing = np.flatnonzero(ids == None)  # noqa: E711 - element by element
    return np.array([row for row in missing.tolist() if has_lost_digits(column[row].as_py().strip())], dtype=np.intp)
