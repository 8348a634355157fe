"""Quarantine: refused rows and repaired values, with file, line, value, rule and remediation.

A refused row is not in the data and is kept here with its raw text; a repaired row is in the data with a changed value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = (
    *("an", "source_table", "file", "line", "Num_Acc", "column_name", "value", "rule", "disposition"),
    *("message", "way_out", "raw"),
)

REFUSED: Final = "refused"
REPAIRED: Final = "repaired"


@dataclass(frozen=True)
class QuarantineRule:
    """One rule: its disposition (refused or repaired), the outcome for the row, and the remediation."""

    name: str
    disposition: str
    outcome: str
    remediation: str


_CORRECT = "correct the row in the source file and materialize the year again"
_REPORT = "no action needed; report it to the publisher (onisr.dscr@interieur.gouv.fr)"

RULES: Final = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            QuarantineRule(
                "nul_byte", REFUSED, "row kept in quarantine", "download the file again: it was damaged in transfer"
            ),
            QuarantineRule("ragged_row", REFUSED, "row kept in quarantine", _CORRECT),
            QuarantineRule("open_quote", REFUSED, "row kept in quarantine", _CORRECT),
            QuarantineRule("stray_quote", REPAIRED, "quotes dropped", _REPORT),
            QuarantineRule("bad_encoding", REPAIRED, "byte read as Windows-1252", _REPORT),
            QuarantineRule("double_encoding", REPAIRED, "letters restored", "use the file as published"),
            QuarantineRule(
                "unknown_column", REPAIRED, "column not read", "add it to the codebook and the schema if it matters"
            ),
            QuarantineRule(
                "other_form", REPAIRED, "read in that form", "no action needed; the published files are safer to use"
            ),
            QuarantineRule("bad_key", REFUSED, "row kept in quarantine", _CORRECT),
            QuarantineRule("duplicate_key", REFUSED, "first row kept, this one in quarantine", _CORRECT),
            QuarantineRule("orphan", REFUSED, "row kept in quarantine", "add the missing accident to caracteristiques"),
            QuarantineRule(
                "no_vehicle", REPAIRED, "road user kept with an unknown vehicle", "add the vehicle to vehicules"
            ),
            QuarantineRule("lost_digits", REPAIRED, "id removed", "save the ids as text, or use the file as published"),
            QuarantineRule("other_key", REPAIRED, "vehicle found by num_veh", "use the ids as published"),
            QuarantineRule("shared_key", REPAIRED, "id removed", "use the ids as published"),
            QuarantineRule("different_keys", REPAIRED, "vehicle found by id_vehicule", "use the ids as published"),
            QuarantineRule("no_place", REPAIRED, "accident kept with an unknown road", "add the accident to lieux"),
            QuarantineRule(
                "severity",
                REFUSED,
                "row kept in quarantine",
                "fill in grav; rows without it are not used in training",
            ),
            QuarantineRule("wrong_year", REFUSED, "row kept in quarantine", "move the row to the file of its year"),
            QuarantineRule("not_filled_in", REPAIRED, "read as unknown", "none: the official description reads it so"),
            QuarantineRule("code", REPAIRED, "read as unknown", _REPORT),
            QuarantineRule("not_a_number", REPAIRED, "read as unknown", _REPORT),
            QuarantineRule("out_of_range", REPAIRED, "read as unknown", _REPORT),
            QuarantineRule("speed_times_ten", REPAIRED, "read as a tenth of it", _REPORT),
            QuarantineRule("swapped_coordinates", REPAIRED, "latitude and longitude exchanged", _REPORT),
            QuarantineRule("impossible_coordinates", REPAIRED, "read as unknown", _REPORT),
            QuarantineRule("impossible_date", REPAIRED, "day read as unknown", _REPORT),
            QuarantineRule("born_later", REPAIRED, "birth year read as unknown", _REPORT),
        )
    }
)


@dataclass
class Quarantine:
    """Collects the notes of one year; `to_frame()` is the quarantine of that year.

    Args:
        lists_not_filled_in: whether values that the official description reads as missing (zero) are noted, too; in
            ingestion they are no repairs.
    """

    year: int = -1
    lists_not_filled_in: bool = False
    rows: list[tuple[object, ...]] = field(default_factory=list)

    def add(
        self,
        rule: str,
        table: str,
        file: str,
        lines: Sequence[int],
        column: str,
        values: Iterable[str],
        why: str | Iterable[str],
        num_acc: Iterable[int] | None = None,
        raw: Iterable[str] | None = None,
    ) -> None:
        """Add a note per line; `why` completes "file line N: column = value …", and the rule's outcome follows it."""
        spec = RULES[rule]
        count = len(lines)
        reasons = [why] * count if isinstance(why, str) else why
        numbers = [-1] * count if num_acc is None else num_acc
        raws = [""] * count if raw is None else raw
        for line, value, reason, number, text in zip(lines, values, reasons, numbers, raws, strict=True):
            subject = f"{column} = {value} " if value else f"{column} is empty, which " if column else ""
            message = f"{file} line {line}: {subject}{reason}; {spec.outcome}."
            position = (self.year, table, file, int(line), int(number), column, value)
            self.rows.append((*position, rule, spec.disposition, message, spec.remediation, text))

    def count_refused(self, table: str) -> int:
        """Number of refused rows of a table."""
        return sum(1 for row in self.rows if row[1] == table and row[8] == REFUSED)

    def to_frame(self) -> pd.DataFrame:
        """The notes as a frame with `COLUMNS`, by table and line."""
        import pandas as pd

        frame = pd.DataFrame(self.rows, columns=pd.Index(COLUMNS))
        types = {"an": "int16", "line": "int32", "Num_Acc": "int64"}
        frame = frame.astype({name: types.get(name, "object") for name in COLUMNS})
        return frame.sort_values(["source_table", "line"], kind="stable", ignore_index=True)
