"""Rows of a scored file as the prediction log keeps them: known values by official name, encoded column by column.

A dict for every row would cost more than to score it.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.files.rows import RoadUserRows

_IDS: Final = ("id_usager", "id_vehicule", "num_veh")
# Characters that JSON escapes in a text.
_ESCAPED: Final = r'["\\\x00-\x1f]'


def build_inputs(rows: RoadUserRows) -> list[orjson.Fragment]:
    """JSON object of each row, official name → value, without unknown ones; ids as in the file, context as computed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    members = [_encode_numbers(name, values) for name, values in rows.columns.items()]
    for name, texts in rows.texts.items():
        as_published = pc.replace_substring(rows.keys[name], "\u00a0", " ") if name in _IDS else texts
        members.append(_encode_texts(name, as_published))
    # Rows whose parts are all null are dropped by the join (pyarrow 25): every row begins with a part.
    joined = pc.binary_join_element_wise(pa.array(["{"] * len(rows)), *members, ",", null_handling="skip")
    begun = pc.replace_substring(joined, "{,", "{", max_replacements=1)
    objects = pc.binary_join_element_wise(begun, "}", "")
    return [orjson.Fragment(text) for text in objects.cast(pa.binary()).to_pylist()]


def _encode_numbers(name: str, values: NDArray[Any]) -> Any:
    """`"name":value` of each row, null where unknown (-1, NaN); pyarrow, shape (n,)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    prefix = f'"{name}":'
    if values.dtype.kind == "f":
        texts = pa.array(values, from_pandas=True).cast(pa.string())
        return pc.binary_join_element_wise(prefix, texts, "")
    coded = pa.array(values).dictionary_encode()
    words = [None if value < 0 else f"{prefix}{value}" for value in coded.dictionary.to_pylist()]
    return pa.array(words, pa.string()).take(coded.indices)


def _encode_texts(name: str, texts: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    coded = texts if isinstance(texts, pa.DictionaryArray) else texts.dictionary_encode()
    words = coded.dictionary
    words = pc.if_else(pc.equal(words, ""), pa.scalar(None, pa.string()), words)
    if pc.any(pc.match_substring_regex(words, _ESCAPED)).as_py():
        words = pa.array([text and orjson.dumps(text).decode() for text in words.to_pylist()], pa.string())
        words = pc.binary_join_element_wise(f'"{name}":', words, "")
    else:
        words = pc.binary_join_element_wise(f'"{name}":"', words, '"', "")
    return pc.take(words, coded.indices)
