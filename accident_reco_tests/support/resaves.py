"""Published files of a year, saved again as pandas, Python's csv, R and spreadsheets do it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from accident_reco.models.accidents.data.reading import decode
from accident_reco.models.accidents.data.victims import RawFile

Tool = Literal["pandas", "csv", "r", "spreadsheet"]
OTHER_ERA = {
    True: {"usagers": ["secu"], "caracteristiques": ["gps"], "lieux": ["env1"], "vehicules": []},
    False: {
        "usagers": ["id_usager", "id_vehicule", "secu1", "secu2", "secu3"],
        "caracteristiques": [],
        "lieux": ["vma"],
        "vehicules": ["id_vehicule", "motor"],
    },
}


@dataclass(frozen=True)
class Resave:
    """How files are saved again.

    Args:
        tool: the program; `pandas` guesses types, so that whole numbers with gaps become floats.
        separator, encoding, newline: of the file.
        merged: with the columns of the other era, empty, as when all years were concatenated.
        filled: what merged columns hold instead of nothing.
        shuffled: with the accidents in another order, the rows of each as they were.
        index: with a column of row numbers.
        damage: column → what is written instead of all its values.
    """

    tool: Tool = "csv"
    separator: str = ";"
    encoding: str = "utf-8"
    newline: str = "\n"
    merged: bool = False
    filled: str = ""
    shuffled: bool = False
    index: bool = False
    damage: dict[str, str] = field(default_factory=dict)


def read_frame(file: RawFile) -> pd.DataFrame:
    """The cells of a published file as text."""
    text, _ = decode(file.data)
    first = text.split(b"\n", 1)[0].decode()
    separator = max(";,\t", key=first.count)
    return pd.read_csv(io.BytesIO(text), sep=separator, dtype=str, keep_default_na=False)


def save_again(files: dict[str, RawFile], how: Resave, seed: int = 0) -> dict[str, RawFile]:
    """The files as `how` writes them."""
    return {table: RawFile(file.name, _save(table, read_frame(file), how, seed)) for table, file in files.items()}


def _save(table: str, frame: pd.DataFrame, how: Resave, seed: int) -> bytes:
    modern = not {"secu", "gps", "env1"} & set(frame) and not (table == "vehicules" and "id_vehicule" not in frame)
    if how.merged:
        for name in OTHER_ERA[modern][table]:
            frame[name] = how.filled
    for name, text in how.damage.items():
        if name in frame:
            frame[name] = text
    if how.shuffled:
        number = frame.columns[0]
        accidents = frame[[number]].drop_duplicates().sample(frac=1, random_state=seed)
        frame = accidents.merge(frame, on=number, how="left")[list(frame)]
    quoting: Literal[0, 1, 2, 3] = csv.QUOTE_ALL if how.tool == "csv" and how.separator == ";" else csv.QUOTE_MINIMAL
    decimal = "."
    if how.tool == "pandas":
        plain = frame.to_csv(index=False)
        frame = pd.read_csv(io.StringIO(plain), low_memory=False)
    elif how.tool == "r":
        frame = frame.apply(lambda column: column.str.strip().replace("", "NA"))
        quoting = csv.QUOTE_NONNUMERIC
    elif how.tool == "spreadsheet":
        frame = frame.apply(lambda column: column.map(_retype))
        decimal = ","
    text = frame.to_csv(
        sep=how.separator,
        index=how.index or how.tool == "r",
        quoting=quoting,
        lineterminator=how.newline,
        decimal=decimal,
    )
    return text.encode(how.encoding, errors="replace")


def _retype(cell: str) -> str:
    """A cell as a French spreadsheet shows it: numbers without leading zeros, clocks with seconds."""
    text = cell.strip()
    if text.isdigit() and len(text) < 12:
        return str(int(text))
    hours, colon, minutes = text.partition(":")
    if colon and hours.isdigit() and minutes.isdigit():
        return f"{hours}:{minutes}:00"
    return text
