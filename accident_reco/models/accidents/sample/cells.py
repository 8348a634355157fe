"""Vectorised formatting of number columns as published text: padding, decimal commas, grouped ids, joined lines."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NBSP = "\u00a0"


def format_codes(
    values: NDArray[np.integer], unknown: str = " -1", width: int = 0, extra: dict[int, str] | None = None
) -> pa.Array:
    """Small integers as text; -1 as `unknown`, padded with zeros to `width`; `extra` overrides single values."""
    if not len(values):
        return pa.array([], pa.string())
    top = int(values.max(initial=0))
    table = [unknown, *(f"{value:0{width}d}" for value in range(top + 1))]
    for value, text in (extra or {}).items():
        if value <= top:
            table[value + 1] = text
    return pa.array(table).take(pa.array(values.astype(np.int64) + 1))


def format_integers(values: NDArray[np.integer]) -> pa.Array:
    """Any integers as text."""
    return pa.array(values).cast(pa.string())


def format_padded(values: NDArray[np.integer], width: int) -> pa.Array:
    """Non-negative integers with leading zeros."""
    return pc.utf8_slice_codeunits(format_integers(values + 10**width), 1)


def format_degrees(values: NDArray[np.float64]) -> pa.Array:
    """Degrees as published since 2019: eight decimals, a comma, and a space before the minus sign."""
    scaled = np.round(np.abs(values) * 1e6).astype(np.int64) * 100
    whole, rest = format_integers(scaled // 10**8), format_padded(scaled % 10**8, 8)
    sign = pc.if_else(pa.array(values < 0), " -", "")
    return pc.binary_join_element_wise(sign, pc.binary_join_element_wise(whole, rest, ","), "")


def format_ids(values: NDArray[np.int64]) -> pa.Array:
    """Nine-digit ids in groups of three with no-break spaces, as published since 2019."""
    groups = (values // 10**6, values // 10**3 % 10**3, values % 10**3)
    return pc.binary_join_element_wise(
        format_integers(groups[0]), format_padded(groups[1], 3), format_padded(groups[2], 3), NBSP
    )


def select_texts(texts: list[str], index: NDArray[np.integer]) -> pa.Array:
    """Text by position."""
    return pa.array(texts).take(pa.array(index.astype(np.int64)))


def format_csv(columns: dict[str, pa.Array], separator: str, quoted: bool, newline: str, final: bool) -> str:
    """Header and lines; `quoted`: all fields in quotes; `final`: a line end after the last line."""
    between = f'"{separator}"' if quoted else separator
    edge = '"' if quoted else ""
    lines = pc.binary_join_element_wise(*columns.values(), between)
    body = f"{edge}{newline}{edge}".join([between.join(columns), *lines.to_pylist()])
    return edge + body + edge + (newline if final else "")
