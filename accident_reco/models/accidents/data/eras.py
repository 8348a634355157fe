"""The era of a year's files: the layout since 2019 or that until 2018, decided once for the four tables.

Evidence is every accident number and every column that only one era publishes, where it is filled: files that were
merged over the years and split again have the columns of all eras, most of them empty. What the values of one file
look like within its era is decided in `forms`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow.compute as pc

from accident_reco.models.accidents.data import values as read
from accident_reco.models.accidents.data.reading import RawTable, UnreadableFile

Era = Literal["since_2019", "until_2018"]
FIRST_NEW_YEAR: Final = 2019
COLUMNS_OF: Final[Mapping[Era, frozenset[str]]] = {
    "since_2019": frozenset({"id_vehicule", "id_usager", "motor", "vma", "secu1", "secu2", "secu3"}),
    "until_2018": frozenset({"secu", "gps", "env1"}),
}
_NOTHING: Final = r"^\s*(-1|-?0+)?([.,]0*)?\s*$"
_SHOWN: Final[Mapping[Era, str]] = {"since_2019": "since 2019", "until_2018": "until 2018"}
MIN_FILLED: Final = 0.01
"""Share of rows from which a column counts as filled: single stray cells are no evidence."""
MAX_OTHER_ERA: Final = 0.02
"""Largest share of a file's accident numbers that may be of the other era than most."""

FEW_ROWS: Final = 2
"""So many odd rows are refused one by one; a file is refused as a whole for more."""


@dataclass(frozen=True)
class Filled:
    """A filled column that only one era publishes, with its first filled cell."""

    column: str
    rows: int
    line: int
    text: str


@dataclass(frozen=True)
class EraEvidence:
    """What one file shows of its era.

    Args:
        numbers: era → rows whose accident number is of its years.
        example: era → line and text of the first such number.
        filled: era → filled columns that only this era publishes.
    """

    table: str
    file: str
    numbers: Mapping[Era, int]
    example: Mapping[Era, tuple[int, str]]
    filled: Mapping[Era, tuple[Filled, ...]]


def iterate_texts(column: Any) -> Iterator[tuple[str, int]]:
    """Distinct texts of a raw column, trimmed, with the number of their rows; words for nothing are left out."""
    counted = column.value_counts()
    texts = _to_plain(counted.field("values"))
    for text, count in zip(read.clean_text(texts).tolist(), counted.field("counts").to_pylist(), strict=True):
        if text is not None:
            yield text, count


def collect_evidence(raw: RawTable) -> EraEvidence:
    """Count accident numbers and filled columns of a file, by era."""
    numbers, _ = read.parse_accident_numbers(raw.columns["Num_Acc"])
    modern = numbers >= FIRST_NEW_YEAR * 10**8
    masks: dict[Era, Any] = {"since_2019": modern, "until_2018": (numbers > 0) & ~modern}
    example: dict[Era, tuple[int, str]] = {}
    for era, mask in masks.items():
        if mask.any():
            row = int(np.argmax(mask))
            example[era] = (int(raw.line[row]), raw.columns["Num_Acc"][row].as_py().strip())
    filled = {era: tuple(_find_filled(raw, sorted(names & raw.columns.keys()))) for era, names in COLUMNS_OF.items()}
    return EraEvidence(raw.table, raw.file, {era: int(mask.sum()) for era, mask in masks.items()}, example, filled)


def _find_filled(raw: RawTable, names: Sequence[str]) -> Iterator[Filled]:
    for name in names:
        column = raw.columns[name]
        counted = column.value_counts()
        texts, counts = _to_plain(counted.field("values")), counted.field("counts").to_numpy()
        # Programs that fill empty columns write 0 or -1 into all of them.
        nothing = pc.fill_null(pc.match_substring_regex(texts, _NOTHING), True).to_numpy(zero_copy_only=False)
        filled = ~nothing & (read.clean_text(texts) != None)  # noqa: E711 - element by element
        rows = int(counts[filled].sum())
        if rows and rows >= MIN_FILLED * len(raw.line):
            first = texts[int(np.argmax(filled))]  # distinct texts are in the order of their first rows
            row = pc.index(_to_plain(column), first).as_py()
            yield Filled(name, rows, int(raw.line[row]), first.as_py().strip())


def _to_plain(column: Any) -> Any:
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


def decide_era(evidence: Sequence[EraEvidence], year: int | None = None) -> Era:
    """The era of a year's files: that of their accident numbers, or of their columns where no number is valid.

    Args:
        year: the year that the files are of, where neither numbers nor columns show an era.

    Raises:
        UnreadableFile: accident numbers or filled columns of one file are of another era than the others.
    """
    totals = {era: sum(file.numbers[era] for file in evidence) for era in COLUMNS_OF}
    columns = {era: sum(bool(file.filled[era]) for file in evidence) for era in COLUMNS_OF}
    decisive = totals if any(totals.values()) else columns
    if any(decisive.values()):
        era: Era = "since_2019" if decisive["since_2019"] >= decisive["until_2018"] else "until_2018"
    else:
        era = "until_2018" if year is not None and year < FIRST_NEW_YEAR else "since_2019"
    problem = next((problem for file in evidence if (problem := _find_conflict(file, era, evidence))), None)
    if problem is not None:
        raise UnreadableFile(problem)
    return era


def _find_conflict(file: EraEvidence, era: Era, evidence: Sequence[EraEvidence]) -> str | None:
    """Why a file is not of the era of the others; None if it is."""
    other: Era = "until_2018" if era == "since_2019" else "since_2019"
    count = file.numbers[era] + file.numbers[other]
    if file.numbers[other] > max(MAX_OTHER_ERA * count, FEW_ROWS):
        line, text = file.example[other]
        peer = next((at for at in evidence if at is not file and at.numbers[era]), None)
        beside = f", those of {peer.file} are of years {_SHOWN[era]} ({peer.example[era][1]})" if peer else ""
        return (
            f"{file.file} line {line}: Num_Acc = {text}: {file.numbers[other]:,} of {count:,} accident numbers are of "
            f"years {_SHOWN[other]}{beside}. The layout changed with 2019, and the files of one year have one layout. "
            "Fix: split the file by year, or put the file of the right year in its place"
        )
    if file.filled[other]:
        column = file.filled[other][0]
        names = ", ".join(found.column for found in file.filled[other])
        numbers = f"its accident numbers are of years {_SHOWN[era]} ({file.example[era][1]})" if count else ""
        numbers = numbers or f"the other files of the year are of the layout {_SHOWN[era]}"
        return (
            f"{file.file} line {column.line}: {column.column} = {column.text}: {names} "
            f"{'is a column' if len(file.filled[other]) == 1 else 'are columns'} of files {_SHOWN[other]} and "
            f"filled in {column.rows:,} rows, but {numbers}. Files of one year have the columns of one era; columns "
            "of the other may be there when they are empty. Fix: use the file as published, or remove the column"
        )
    return None
