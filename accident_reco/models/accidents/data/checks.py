"""Checks of accident data before training: pure functions over the summary of a year and those of other years.

A summary is computed once, when a year is merged, and stored with it; checks, promotion and pages read the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from accident_reco.models.accidents.codebook import FIELDS, UNKNOWN
from accident_reco.models.accidents.data.causes import LOSING, REFUSING, REPAIRING, lead_with_cause, list_causes
from accident_reco.models.accidents.data.duplicates import Duplicates
from accident_reco.models.accidents.data.schema import COLUMNS
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.data.victims import AccidentYear

# Names of the checks, in Dagster and in `CheckOutcome`.
ROW_COUNTS: Final = "one_row_per_road_user"
KEYS: Final = "keys_unique"
REFERENCES: Final = "referential_integrity"
CODES: Final = "code_ranges"
YEAR_ON_YEAR: Final = "year_on_year"
FILES: Final = "files_unique"
DUPLICATES: Final = "no_duplicate_accidents"
FRESHNESS: Final = "freshness"

MAX_REFUSED: Final = 0.02
MAX_ORPHANED: Final = 0.01
MAX_REPAIRED: Final = 0.02
# Passengers of a bus may have the same values in all published columns; half of a year does not.
MAX_IDENTICAL_USERS: Final = 0.2
# Accidents of a year that have the content of another one, as a share and as a number. January to September 2024 has
# 0.08 %, nearly all recorded by two police services; comparing twenty years adds 0.1 to 0.4 % by coincidence.
MAX_DUPLICATES: Final = 0.02
MIN_DUPLICATES: Final = 4
# Road users per month and share of killed or hospitalised, relative to the year before: wider than every change from
# 2005 to 2024 except the lockdowns.
VOLUME_BAND: Final = (0.6, 1.6)
SEVERE_SHARE_BAND: Final = (0.75, 1.35)
MAX_STANDARD_ERRORS: Final = 4.0
# Since 2018 "hospitalised" is recorded by another definition; the publisher states that the years are not comparable.
HOSPITALISED_REDEFINED: Final = 2018
MAX_AGE_YEARS: Final = 3

Summary = Mapping[str, Any]
NO_DUPLICATES: Final[Mapping[int, Duplicates]] = MappingProxyType({})


@dataclass(frozen=True)
class CheckOutcome:
    """Outcome of one check of one year; a failure of a `blocking` one excludes the year from training."""

    name: str
    passed: bool
    reason: str
    blocking: bool = True
    numbers: dict[str, float] = field(default_factory=dict)


def summarise(
    built: AccidentYear, year: int, records: Mapping[str, Mapping[str, Any]], victims_sha256: str
) -> dict[str, Any]:
    """Summary of a year for the checks, as plain JSON values; `records` are the stored published files by table."""
    victims, notes = built.victims, built.quarantine
    values = (notes.disposition == "repaired") & ~notes.rule.isin(["no_vehicle", "no_place"])
    repaired = notes[values].groupby("column_name").size()
    outside = {}
    for frame, table in (
        (built.accidents, "caracteristiques"),
        (built.places, "lieux"),
        (built.vehicles, "vehicules"),
        (victims, "usagers"),
    ):
        for name in COLUMNS[table]:
            codes = FIELDS[name].codes
            if codes is not None:
                invalid = ~np.isin(frame[name].to_numpy(), [UNKNOWN, *codes])
                if invalid.any():
                    outside[name] = int(invalid.sum())
    ids = victims.id_usager.dropna()
    vehicles = built.vehicles[["Num_Acc", "id_vehicule"]].dropna()
    return {
        "an": year,
        "data_source": next(iter({record["data_source"] for record in records.values()}), "unknown"),
        "files": {
            table: {key: record[key] for key in ("name", "url", "sha256", "size")} for table, record in records.items()
        },
        "eras": built.eras,
        "counts": {table: [count.rows_in, count.rows_out, count.refused] for table, count in built.counts.items()},
        "victims": len(victims),
        "victims_sha256": victims_sha256,
        "months": int(victims.mois[victims.mois > 0].nunique()),
        "grave_share": round(float(is_severe(victims.grav).mean()), 6) if len(victims) else 0.0,
        "grav": {str(code): int(count) for code, count in victims.grav.value_counts().sort_index().items()},
        "repeated": {
            "Num_Acc": int(built.accidents.Num_Acc.duplicated().sum()),
            "id_vehicule": int(vehicles.duplicated().sum()),
            "id_usager": int(ids.duplicated().sum()),
        },
        "identical_users": built.identical_users,
        "other_years": int((victims.an != year).sum()),
        "outside_codebook": outside,
        "repaired": {str(name): int(count) for name, count in repaired.items() if name},
        "causes": list_causes(notes, {table: count.rows_in for table, count in built.counts.items()}),
        "rules": {str(rule): int(count) for rule, count in notes.groupby("rule").size().items()},
        "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def check_row_counts(year: Summary) -> CheckOutcome:
    """Rows in = rows out + refused, in every table, and one victim per user that was kept; few are refused."""
    lost = {table: rows_in - rows_out - refused for table, (rows_in, rows_out, refused) in year["counts"].items()}
    unbalanced = {table: count for table, count in lost.items() if count}
    rows_in, rows_out, refused = year["counts"]["usagers"]
    numbers = {"people_in": rows_in, "people_out": year["victims"], "refused": refused}
    if unbalanced or rows_out != year["victims"]:
        reason = f"{year['an']}: rows not accounted for: {unbalanced or numbers}"
        return CheckOutcome(ROW_COUNTS, False, reason, numbers=numbers)
    if rows_out == 0:
        reason = lead_with_cause(year, "no road user is left", REFUSING, 0)
        return CheckOutcome(ROW_COUNTS, False, f"{year['an']}: {reason}", numbers=numbers)
    many = {
        table: refused / rows_in
        for table, (rows_in, _, refused) in year["counts"].items()
        if rows_in and refused / rows_in > MAX_REFUSED
    }
    shares = ", ".join(f"{share:.1%} of {table}" for table, share in many.items())
    reason = (
        f"refused {shares}; at most {MAX_REFUSED:.0%} may be"
        if many
        else (f"{rows_in:,} road users in, {rows_out:,} out, {refused:,} refused with a reason")
    )
    if many:
        reason = lead_with_cause(year, reason, REFUSING, MAX_REFUSED)
    return CheckOutcome(ROW_COUNTS, not many, f"{year['an']}: {reason}", numbers=numbers)


def check_keys(year: Summary) -> CheckOutcome:
    """Accidents, vehicles and users are unique; where no id tells users apart, few rows are identical."""
    repeated = {name: count for name, count in year["repeated"].items() if count}
    identical = year.get("identical_users", 0) / max(year["victims"], 1)
    if identical > MAX_IDENTICAL_USERS:
        reason = f"{year['an']}: {identical:.0%} of the users equal another one in every column: the file is doubled"
        return CheckOutcome(KEYS, False, reason, numbers={"identical_users": year["identical_users"]})
    reason = f"{repeated} repeated" if repeated else "accidents, vehicles and users are unique"
    return CheckOutcome(KEYS, not repeated, f"{year['an']}: {reason}", numbers=dict(year["repeated"]))


def check_references(year: Summary) -> CheckOutcome:
    """Road users have their vehicle, accidents their road, rows their accident; few do not."""
    users, accidents = max(year["victims"], 1), max(year["counts"]["caracteristiques"][1], 1)
    rows = sum(rows_in for rows_in, _, _ in year["counts"].values()) or 1
    shares = {
        "road users without vehicle": year["rules"].get("no_vehicle", 0) / users,
        "accidents without road": year["rules"].get("no_place", 0) / accidents,
        "rows without accident": year["rules"].get("orphan", 0) / rows,
    }
    bad = {name: share for name, share in shares.items() if share > MAX_ORPHANED}
    reason = ", ".join(f"{share:.2%} {name}" for name, share in (bad or shares).items())
    reason = f"{reason} (at most {MAX_ORPHANED:.0%})"
    if bad:
        reason = lead_with_cause(year, reason, LOSING, MAX_ORPHANED)
    return CheckOutcome(
        REFERENCES,
        not bad,
        f"{year['an']}: {reason}",
        numbers={name.replace(" ", "_"): share for name, share in shares.items()},
    )


def check_codes(year: Summary) -> CheckOutcome:
    """Every code is in the codebook or unknown, every row is of its year, and few values were repaired."""
    largest = max((count[0] for count in year["counts"].values()), default=1) or 1
    repaired = {name: count / largest for name, count in year["repaired"].items() if count / largest > MAX_REPAIRED}
    problems = [f"{count:,} {name} outside the codebook" for name, count in year["outside_codebook"].items()]
    problems += [f"{share:.1%} of {name} repaired" for name, share in repaired.items()]
    if year["other_years"]:
        problems.append(f"{year['other_years']:,} road users of another year")
    total = sum(year["repaired"].values())
    reason = "; ".join(problems) or f"all codes are in the codebook ({total:,} values repaired)"
    if repaired:
        reason = lead_with_cause(year, reason, REPAIRING, MAX_REPAIRED, repaired)
    return CheckOutcome(CODES, not problems, f"{year['an']}: {reason}", numbers={"repaired": total})


def check_year_on_year(year: Summary, before: Summary | None) -> CheckOutcome:
    """Road users per month and share of killed or hospitalised against the year before, of the same source."""
    name = YEAR_ON_YEAR
    if before is None or before["data_source"] != year["data_source"]:
        return CheckOutcome(name, True, f"{year['an']}: no year before it to compare with")
    volume = (year["victims"] / max(year["months"], 1)) / max(before["victims"] / max(before["months"], 1), 1e-9)
    share = year["grave_share"] / max(before["grave_share"], 1e-9)
    comparable = not before["an"] < HOSPITALISED_REDEFINED <= year["an"]
    problems = []
    # Small samples scatter: a share outside of the band must also differ by more than chance explains.
    spread = (
        year["grave_share"] * (1 - year["grave_share"]) * (1 / max(year["victims"], 1) + 1 / max(before["victims"], 1))
    ) ** 0.5
    chance = abs(year["grave_share"] - before["grave_share"]) <= MAX_STANDARD_ERRORS * spread
    if not VOLUME_BAND[0] <= volume <= VOLUME_BAND[1]:
        problems.append(
            f"{volume:.0%} of the road users per month of {before['an']} (band {_format_band(VOLUME_BAND)})"
        )
    if comparable and not chance and not SEVERE_SHARE_BAND[0] <= share <= SEVERE_SHARE_BAND[1]:
        problems.append(
            f"share of killed or hospitalised {year['grave_share']:.1%}, {share:.0%} of {before['an']}'s "
            f"{before['grave_share']:.1%} (band {_format_band(SEVERE_SHARE_BAND)})"
        )
    reason = (
        "; ".join(problems) or f"{volume:.0%} of the road users and {share:.0%} of the severe share of {before['an']}"
    )
    if not comparable:
        reason += f" (hospitalised is defined otherwise since {HOSPITALISED_REDEFINED}: shares are not compared)"
    return CheckOutcome(name, not problems, f"{year['an']}: {reason}", numbers={"volume": volume, "severe": share})


def _format_band(band: tuple[float, float]) -> str:
    return f"{band[0]:.0%} to {band[1]:.0%}"


def check_files(year: Summary, others: Mapping[int, Summary]) -> CheckOutcome:
    """No published file is byte for byte the file of another year."""
    mine = {file["sha256"]: file["name"] for file in year["files"].values()}
    twins = [
        f"{mine[file['sha256']]} is {file['name']} of {other}"
        for other, summary in others.items()
        if other != year["an"]
        for file in summary["files"].values()
        if file["sha256"] in mine
    ]
    return CheckOutcome(FILES, not twins, f"{year['an']}: {'; '.join(twins) or 'published files are unique'}")


def check_duplicates(year: Summary, found: Duplicates | None) -> CheckOutcome:
    """Few accidents have the content of another one of this or another year under another number."""
    name, accidents = DUPLICATES, year["counts"]["caracteristiques"][1]
    if found is None:
        return CheckOutcome(
            name, True, f"{year['an']}: no accident has the content of another one", numbers={"duplicates": 0}
        )
    share = found.accidents / max(accidents, 1)
    of_years = ", ".join(f"{count:,} of {an}" for an, count in sorted(found.by_year.items()))
    examples = ", ".join(f"{number} = {other} of {an}" for number, other, an in found.examples)
    reason = (
        f"{year['an']}: {found.accidents:,} of {accidents:,} accidents ({share:.2%}) have the content of another "
        f"one under another number ({of_years}; such as {examples})"
    )
    passed = found.accidents < MIN_DUPLICATES or share <= MAX_DUPLICATES
    if not passed:
        reason += (
            f"; at most {MAX_DUPLICATES:.0%} may. Fix: put the year's own files in place of the copy at the "
            "source and ingest that year again"
        )
    return CheckOutcome(name, passed, reason, numbers={"duplicates": found.accidents, "share": share})


def check_freshness(years: Mapping[int, Summary], now: datetime) -> CheckOutcome:
    """The newest year is at most `MAX_AGE_YEARS` old; a year is published in the autumn after it. Does not block."""
    newest = max(years, default=0)
    passed = newest >= now.year - MAX_AGE_YEARS
    return CheckOutcome(
        FRESHNESS, passed, f"newest year is {newest or 'none'}, today is {now:%Y-%m-%d}", blocking=False
    )


def check_year(
    years: Mapping[int, Summary], year: int, duplicates: Mapping[int, Duplicates] = NO_DUPLICATES
) -> list[CheckOutcome]:
    """All blocking checks of one of the stored years; `duplicates` are those of the stored years, by year."""
    summary = years[year]
    return [
        check_row_counts(summary),
        check_keys(summary),
        check_references(summary),
        check_codes(summary),
        check_year_on_year(summary, years.get(year - 1)),
        check_files(summary, years),
        check_duplicates(summary, duplicates.get(year)),
    ]


def find_data_problems(
    years: Mapping[int, Summary],
    used: Iterable[int] | None = None,
    duplicates: Mapping[int, Duplicates] = NO_DUPLICATES,
) -> list[str]:
    """Reasons why the stored years, or those that are `used`, must not train or promote a model."""
    return [
        outcome.reason
        for year in (years if used is None else used)
        for outcome in check_year(years, year, duplicates)
        if outcome.blocking and not outcome.passed
    ]
