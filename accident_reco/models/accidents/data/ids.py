"""Ids of road users and vehicles as published (`155 781 758`, with no-break spaces) or as other programs write them."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from accident_reco.models.accidents.data import values as read

_FLOAT = r"^\s*(\d+)[.,]0{1,2}\s*$"
LOST: Final = "lost"
NUMBERED: Final = frozenset({"voie", "v1", "pr", "pr1"})
_EXPONENT = re.compile(r"(\d)(?:[.,](\d+))?[eE]\+?(\d{1,2})")


def read_ids(column: pa.Array) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Digits of the ids, shape (n,): without spaces, the decimals of floats, and letters of a wrong encoding.

    None where there is no id (0 is none), or where scientific notation has lost its last digits; the rows of the latter
    are returned too.
    """
    texts = pa.array(read.clean_text(column, compact=True), pa.string())
    plain = pc.replace_substring_regex(texts, _FLOAT, r"\1")
    plain = pc.if_else(pc.equal(plain, "0"), pa.scalar(None, pa.string()), plain)
    if pc.all(pc.match_substring_regex(plain, r"^[0-9]*$"), min_count=0).as_py():
        return _to_objects(plain), np.empty(0, dtype=np.intp)
    ids = [_read_id(text) for text in plain.to_pylist()]
    lost = [row for row, text in enumerate(ids) if text == LOST]
    return np.array([None if text == LOST else text for text in ids], dtype=object), np.array(lost, dtype=np.intp)


def strip_decimals(texts: NDArray[np.object_], name: str) -> NDArray[np.object_]:
    """Texts of a column of numbers kept as text (kilometre posts, road numbers) without the decimals of floats."""
    if name not in NUMBERED:
        return texts
    return _to_objects(pc.replace_substring_regex(pa.array(texts, pa.string()), _FLOAT, r"\1"))


def _to_objects(texts: Any) -> NDArray[np.object_]:
    return texts.to_numpy(zero_copy_only=False)


def _read_id(text: str | None) -> str | None:
    if text is None:
        return None
    exponent = _EXPONENT.fullmatch(text)
    if exponent is not None:
        first, decimals, power = exponent[1], exponent[2] or "", int(exponent[3])
        return f"{first}{decimals}" if len(decimals) == power else LOST
    return re.sub(r"[^0-9A-Za-z]", "", text) or None
