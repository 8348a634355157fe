"""Raw text columns of a layout (until 2018, since 2019) as canonical columns; of one table, or of joined tables.

Cells are read in `cells` and `values`; which layout a file has is decided by the callers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import UNKNOWN
from accident_reco.models.accidents.codebook.notation import parse_number
from accident_reco.models.accidents.data import values as read
from accident_reco.models.accidents.data.cells import Parsed, get_parser
from accident_reco.models.accidents.data.eras import COLUMNS_OF, Era
from accident_reco.models.accidents.data.forms import PUBLISHED, Forms, read_location
from accident_reco.models.accidents.data.ids import strip_decimals
from accident_reco.models.accidents.data.schema import REAL, TEXT, get_dtype

_IDS: Final = frozenset({"id_usager", "id_vehicule", "num_veh", "pr", "pr1", "dep", "com"})

Problem = tuple[str, str, str, str, NDArray[np.intp]]
"""Column, text, rule, reason, rows."""


def convert_columns(
    raw: Mapping[str, pa.Array], names: Iterable[str], count: int, era: Era, forms: Forms | None = None
) -> tuple[dict[str, NDArray[Any]], list[Problem]]:
    """Canonical columns, each of shape (count,), of raw text in the layout of an era, and what is not taken literally.

    Columns that are absent, or of the other era only, are missing in every row. `Num_Acc` is left to
    `values.parse_accident_numbers`; what old layouts state differently is left to `convert_old_layout`, departments and
    communes to `convert_locations`.

    Args:
        forms: how the file writes its values; by default as published in the era.
    """
    forms = forms or PUBLISHED[era]
    # Columns of the other era are empty here: whatever they are filled up with is no value.
    other_era = COLUMNS_OF["until_2018" if era == "since_2019" else "since_2019"]
    columns: dict[str, NDArray[Any]] = {}
    problems: list[Problem] = []
    for name in names:
        if name == "Num_Acc":
            continue
        if name not in raw or name in other_era:
            columns[name] = build_missing_column(name, count)
        elif name in TEXT:
            columns[name] = strip_decimals(read.clean_text(raw[name], name in _IDS), name)
        elif name in ("lat", "long"):
            columns[name], bad = read.parse_degrees(raw[name], forms.degrees, name == "lat")
            problems += [
                (name, raw[name][int(row)].as_py(), "not_a_number", "is not a number", np.array([row])) for row in bad
            ]
        else:
            parsed = read.parse_column(raw[name], get_parser(name, forms.select_layout(name, era)), get_dtype(name))
            columns[name] = parsed.values
            problems += [(name, *problem) for problem in parsed.problems]
    return columns, problems


def build_missing_column(name: str, count: int) -> NDArray[Any]:
    """A column without any value, shape (count,)."""
    if name in TEXT:
        return np.full(count, None, dtype=object)
    return np.full(count, np.nan if name in REAL else UNKNOWN, dtype=get_dtype(name))


def convert_locations(columns: dict[str, NDArray[Any]], zero_follows: bool) -> None:
    """Convert departments and communes, where present, to INSEE codes; see `forms.read_location`."""
    if "dep" not in columns or "com" not in columns:
        return
    pairs = zip(columns["dep"].tolist(), columns["com"].tolist(), strict=True)
    known: dict[tuple[str | None, str | None], tuple[str | None, str | None]] = {}
    codes = [known.setdefault(at, known.get(at) or read_location(*at, zero_follows)) for at in pairs]
    columns["dep"] = np.array([dep for dep, _ in codes], dtype=object)
    columns["com"] = np.array([com for _, com in codes], dtype=object)


def convert_old_layout(columns: dict[str, NDArray[Any]], raw: Mapping[str, pa.Array]) -> None:
    """Convert missing coordinates, equipment and seats of pedestrians of the old layout, where present."""
    if "lat" in columns and "long" in columns:
        nowhere = (columns["lat"] == 0) | (columns["long"] == 0) & (np.abs(columns["lat"].astype(float)) < 1)
        for name in ("lat", "long"):
            columns[name] = np.where(nowhere, np.nan, columns[name])
    if "secu" in raw:
        columns["secu1"] = read.parse_column(raw["secu"], _parse_old_equipment, "int16").values
    if "place" in columns and "catu" in columns:
        on_foot = columns["catu"] == 3
        columns["place"] = np.where(on_foot & (columns["place"] == UNKNOWN), 10, columns["place"]).astype("int16")


def _parse_old_equipment(text: str) -> Parsed:
    """`secu` (kind, then use) as `secu1` since 2019: used → kind, not used → 0, undetermined → 8."""
    number = parse_number(text)
    kind, use = divmod(int(number), 10) if number is not None and 0 <= number <= 99 else (0, 0)
    if use == 1:
        return (kind if kind in (1, 2, 3, 4, 9) else UNKNOWN), "", ""
    if use == 2:
        return 0, "", ""
    return (8 if use == 3 or kind else UNKNOWN), "", ""
