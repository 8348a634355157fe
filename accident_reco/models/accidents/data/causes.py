"""Why rows of a year were refused or repaired, the causes before their consequences.

A broken column of one file refuses or changes rows of others: without its accident a road user is an orphan. Rules
are therefore ordered as the tables are read and merged, and a failed check names the first cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pandas as pd

from accident_reco.models.accidents.data.quarantine import REFUSED, REPAIRED, RULES

RULES_IN_ORDER: Final = (
    *("double_encoding", "bad_encoding", "unknown_column", "nul_byte", "open_quote", "ragged_row", "stray_quote"),
    *("other_form", "bad_key", "wrong_year", "duplicate_key", "lost_digits", "shared_key", "orphan", "other_key"),
    *("different_keys", "no_vehicle", "no_place", "severity", "not_a_number", "not_filled_in", "code"),
    *(
        "out_of_range",
        "speed_times_ten",
        "swapped_coordinates",
        "impossible_coordinates",
        "impossible_date",
        "born_later",
    ),
)
"""Rules of the quarantine in the order in which they apply to a year."""
REFUSING: Final = tuple(name for name in RULES_IN_ORDER if RULES[name].disposition == REFUSED)
REPAIRING: Final = tuple(name for name in RULES_IN_ORDER if name not in REFUSING)
LOSING: Final = (*REFUSING, "no_vehicle", "no_place")
"""Rules that leave references without their row."""
_PLACE: Final = {rule: place for place, rule in enumerate(RULES_IN_ORDER)}
MAX_CAUSES: Final = 30


def list_causes(quarantine: pd.DataFrame, rows: Mapping[str, int]) -> list[dict[str, Any]]:
    """Groups of notes of one file, rule and column: number, share of the file's rows, first message and remediation.

    Args:
        quarantine: notes of a year, by table and line.
        rows: table → rows of its file.
    """
    groups = quarantine.groupby(["source_table", "rule", "column_name"], sort=False)
    causes: list[dict[str, Any]] = []
    for (table, rule, column), notes in groups:
        first = notes.iloc[0]
        causes.append(
            {
                "table": str(table),
                "rule": str(rule),
                "column": str(column),
                "disposition": str(first.disposition),
                "rows": len(notes),
                "share": round(len(notes) / max(rows.get(str(table), 0), 1), 6),
                "first": str(first.message),
                "remediation": str(first.way_out),
            }
        )
    causes.sort(key=lambda cause: (_PLACE.get(cause["rule"], len(_PLACE)), -cause["rows"]))
    return causes[:MAX_CAUSES]


def lead_with_cause(
    year: Mapping[str, Any], reason: str, rules: Iterable[str], min_share: float, columns: Iterable[str] | None = None
) -> str:
    """A reason that begins with its first cause among `rules` (and `columns`, where given), and ends with the fix.

    Args:
        year: summary of the year; summaries of earlier releases have no causes.
        min_share: share of a file's rows that a cause must reach to explain the reason.
    """
    wanted, named = set(rules), None if columns is None else set(columns)
    for cause in year.get("causes", ()):
        if cause["rule"] not in wanted or cause["share"] < min_share:
            continue
        if named is not None and cause["disposition"] == "repaired" and cause["column"] not in named:
            continue
        more = f" ({cause['rows']:,} such rows, {cause['share']:.1%} of {cause['table']})" if cause["rows"] > 1 else ""
        fix = cause["remediation"]
        if cause["disposition"] == REPAIRED:
            fix = f"use the {cause['table']} file as published, or correct {cause['column'] or 'it'} in it"
        return f"{cause['first'].rstrip('.')}{more}; {reason}. Fix: {fix}"
    return reason
