"""What must hold before accident data may teach a model: pure functions over a year's summary and its neighbours'.

A summary is made once, when a year is merged, and stored beside it; checks, promotion and pages read the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from accident_reco.models.accidents.codebook import FIELDS, UNKNOWN
from accident_reco.models.accidents.data.duplicates import Duplicates
from accident_reco.models.accidents.data.schema import COLUMNS
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.data.victims import YearOfAccidents

MAX_REFUSED: Final = 0.02
MAX_ORPHANED: Final = 0.01
MAX_REPAIRED: Final = 0.02
# Passengers of a bus may be alike in all that is published; half of a year is not.
MAX_ALIKE: Final = 0.2
# Accidents of a year that have the content of another one, as a share and at least: of January to September 2024 it is
# 0.08 %, nearly all of them recorded twice by two police services; twenty years would add 0.1 to 0.4 % by coincidence.
MAX_DUPLICATES: Final = 0.02
MIN_DUPLICATES: Final = 4
# People per month of the year before, and share of gravely hurt: wider than any change from 2005 to 2024 but lockdown.
VOLUME_BAND: Final = (0.6, 1.6)
GRAVE_BAND: Final = (0.75, 1.35)
SIGMAS: Final = 4.0
# From 2018 on "hospitalised" is counted otherwise; the publisher says that the years are not comparable.
GRAVE_BREAK: Final = 2018
FRESH_YEARS: Final = 3

Summary = Mapping[str, Any]
NO_DUPLICATES: Final[Mapping[int, Duplicates]] = MappingProxyType({})


@dataclass(frozen=True)
class CheckOutcome:
    """One check of one year. `blocking` says whether a failure keeps the year from teaching a model."""

    name: str
    passed: bool
    reason: str
    blocking: bool = True
    numbers: dict[str, float] = field(default_factory=dict)


def summarise(
    built: YearOfAccidents, year: int, records: Mapping[str, Mapping[str, Any]], victims_sha256: str
) -> dict[str, Any]:
    """What the checks need to know of a year, as plain JSON. `records` are the stored published files by table."""
    victims, notes = built.victims, built.quarantine
    values = (notes.disposition == "repaired") & ~notes.rule.isin(["no_vehicle", "no_place"])
    repaired = notes[values].groupby("column_name").size()
    outside = {}
    for frame, table in ((built.accidents, "caracteristiques"), (built.places, "lieux"), (built.vehicles, "vehicules"),
                         (victims, "usagers")):  # fmt: skip
        for name in COLUMNS[table]:
            codes = FIELDS[name].codes
            if codes is not None:
                odd = ~np.isin(frame[name].to_numpy(), [UNKNOWN, *codes])
                if odd.any():
                    outside[name] = int(odd.sum())
    ids = victims.id_usager.dropna()
    vehicles = built.vehicles[["Num_Acc", "id_vehicule"]].dropna()
    return {
        "an": year,
        "data_source": next(iter({record["data_source"] for record in records.values()}), "unknown"),
        "files": {table: {key: record[key] for key in ("name", "url", "sha256", "size")} for table, record in
                  records.items()},
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
        "rules": {str(rule): int(count) for rule, count in notes.groupby("rule").size().items()},
        "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def one_row_per_road_user(year: Summary) -> CheckOutcome:
    """Rows in = rows out + refused, in every table, and one victim per user that was kept."""
    lost = {table: rows_in - rows_out - refused for table, (rows_in, rows_out, refused) in year["counts"].items()}
    unbalanced = {table: count for table, count in lost.items() if count}
    rows_in, rows_out, refused = year["counts"]["usagers"]
    numbers = {"people_in": rows_in, "people_out": year["victims"], "refused": refused}
    if unbalanced or rows_out != year["victims"]:
        reason = f"{year['an']}: rows not accounted for: {unbalanced or numbers}"
        return CheckOutcome("one_row_per_road_user", False, reason, numbers=numbers)
    if rows_out == 0:
        return CheckOutcome("one_row_per_road_user", False, f"{year['an']}: no person is left", numbers=numbers)
    many = {table: refused / rows_in for table, (rows_in, _, refused) in year["counts"].items()
            if rows_in and refused / rows_in > MAX_REFUSED}  # fmt: skip
    told = ", ".join(f"{share:.1%} of {table}" for table, share in many.items())
    reason = f"refused {told}; at most {MAX_REFUSED:.0%} may be" if many else (
        f"{rows_in:,} people in, {rows_out:,} out, {refused:,} refused with a reason")  # fmt: skip
    return CheckOutcome("one_row_per_road_user", not many, f"{year['an']}: {reason}", numbers=numbers)


def keys_unique(year: Summary) -> CheckOutcome:
    """No accident, vehicle or user twice."""
    repeated = {name: count for name, count in year["repeated"].items() if count}
    alike = year.get("identical_users", 0) / max(year["victims"], 1)
    if alike > MAX_ALIKE:
        reason = f"{year['an']}: {alike:.0%} of the users are like another one in every column: the file is doubled"
        return CheckOutcome("keys_unique", False, reason, numbers={"identical_users": year["identical_users"]})
    reason = f"{repeated} repeated" if repeated else "accidents, vehicles and users are unique"
    return CheckOutcome("keys_unique", not repeated, f"{year['an']}: {reason}", numbers=dict(year["repeated"]))


def referential_integrity(year: Summary) -> CheckOutcome:
    """People find their vehicle, accidents their place, rows their accident; a few may not."""
    people, accidents = max(year["victims"], 1), max(year["counts"]["caracteristiques"][1], 1)
    rows = sum(rows_in for rows_in, _, _ in year["counts"].values()) or 1
    shares = {
        "people without vehicle": year["rules"].get("no_vehicle", 0) / people,
        "accidents without place": year["rules"].get("no_place", 0) / accidents,
        "rows without accident": year["rules"].get("orphan", 0) / rows,
    }
    bad = {name: share for name, share in shares.items() if share > MAX_ORPHANED}
    told = ", ".join(f"{share:.2%} {name}" for name, share in (bad or shares).items())
    return CheckOutcome("referential_integrity", not bad, f"{year['an']}: {told} (at most {MAX_ORPHANED:.0%})",
                        numbers={name.replace(" ", "_"): share for name, share in shares.items()})  # fmt: skip


def code_ranges(year: Summary) -> CheckOutcome:
    """Every code is in the codebook or unknown, every row of its year, and few values had to be repaired."""
    largest = max((count[0] for count in year["counts"].values()), default=1) or 1
    repaired = {name: count / largest for name, count in year["repaired"].items() if count / largest > MAX_REPAIRED}
    problems = [f"{count:,} {name} outside the codebook" for name, count in year["outside_codebook"].items()]
    problems += [f"{share:.1%} of {name} repaired" for name, share in repaired.items()]
    if year["other_years"]:
        problems.append(f"{year['other_years']:,} people of another year")
    total = sum(year["repaired"].values())
    reason = "; ".join(problems) or f"all codes are in the codebook ({total:,} values repaired)"
    return CheckOutcome("code_ranges", not problems, f"{year['an']}: {reason}", numbers={"repaired": total})


def year_on_year(year: Summary, before: Summary | None) -> CheckOutcome:
    """People per month and share of gravely hurt against the year before, where it is at hand from the same source."""
    name = "year_on_year"
    if before is None or before["data_source"] != year["data_source"]:
        return CheckOutcome(name, True, f"{year['an']}: no year before it to compare with")
    volume = (year["victims"] / max(year["months"], 1)) / max(before["victims"] / max(before["months"], 1), 1e-9)
    share = year["grave_share"] / max(before["grave_share"], 1e-9)
    comparable = not before["an"] < GRAVE_BREAK <= year["an"]
    problems = []
    # Small samples scatter: a share must lie outside the band by more than chance explains.
    spread = (
        year["grave_share"] * (1 - year["grave_share"]) * (1 / max(year["victims"], 1) + 1 / max(before["victims"], 1))
    ) ** 0.5
    chance = abs(year["grave_share"] - before["grave_share"]) <= SIGMAS * spread
    if not VOLUME_BAND[0] <= volume <= VOLUME_BAND[1]:
        problems.append(f"{volume:.0%} of the people per month of {before['an']} (band {_band(VOLUME_BAND)})")
    if comparable and not chance and not GRAVE_BAND[0] <= share <= GRAVE_BAND[1]:
        problems.append(f"share of gravely hurt {year['grave_share']:.1%}, {share:.0%} of {before['an']}'s "
                        f"{before['grave_share']:.1%} (band {_band(GRAVE_BAND)})")  # fmt: skip
    reason = "; ".join(problems) or f"{volume:.0%} of the people and {share:.0%} of the grave share of {before['an']}"
    if not comparable:
        reason += f" (hospitalised is counted otherwise since {GRAVE_BREAK}: shares not compared)"
    return CheckOutcome(name, not problems, f"{year['an']}: {reason}", numbers={"volume": volume, "grave": share})


def _band(band: tuple[float, float]) -> str:
    return f"{band[0]:.0%} to {band[1]:.0%}"


def no_file_twice(year: Summary, others: Mapping[int, Summary]) -> CheckOutcome:
    """No published file is byte for byte the file of another year."""
    mine = {file["sha256"]: file["name"] for file in year["files"].values()}
    twins = [f"{mine[file['sha256']]} is {file['name']} of {other}" for other, summary in others.items()
             if other != year["an"] for file in summary["files"].values() if file["sha256"] in mine]  # fmt: skip
    return CheckOutcome("no_file_twice", not twins, f"{year['an']}: {'; '.join(twins) or 'no file is there twice'}")


def no_duplicate_accidents(year: Summary, found: Duplicates | None) -> CheckOutcome:
    """Few accidents have the content of another one, of this or another year, whatever their numbers."""
    name, accidents = "no_duplicate_accidents", year["counts"]["caracteristiques"][1]
    if found is None:
        return CheckOutcome(name, True, f"{year['an']}: no accident is there twice", numbers={"duplicates": 0})
    share = found.accidents / max(accidents, 1)
    of_years = ", ".join(f"{count:,} of {an}" for an, count in sorted(found.by_year.items()))
    examples = ", ".join(f"{number} = {other} of {an}" for number, other, an in found.examples)
    reason = (f"{year['an']}: {found.accidents:,} of {accidents:,} accidents ({share:.2%}) have the content of another "
              f"one under another number ({of_years}; such as {examples})")  # fmt: skip
    passed = found.accidents < MIN_DUPLICATES or share <= MAX_DUPLICATES
    if not passed:
        reason += (f"; at most {MAX_DUPLICATES:.0%} may. Fix: put the year's own files in place of the copy at the "
                   "source and ingest that year again")  # fmt: skip
    return CheckOutcome(name, passed, reason, numbers={"duplicates": found.accidents, "share": share})


def fresh(years: Mapping[int, Summary], now: datetime) -> CheckOutcome:
    """The newest year is not older than publication allows (a year appears in the autumn after it)."""
    newest = max(years, default=0)
    passed = newest >= now.year - FRESH_YEARS
    return CheckOutcome("fresh", passed, f"newest year is {newest or 'none'}, today is {now:%Y-%m-%d}", blocking=False)


def check_year(
    years: Mapping[int, Summary], year: int, duplicates: Mapping[int, Duplicates] = NO_DUPLICATES
) -> list[CheckOutcome]:
    """All checks of one year among the stored ones. `duplicates` are those of the stored years, by year."""
    summary = years[year]
    return [
        one_row_per_road_user(summary),
        keys_unique(summary),
        referential_integrity(summary),
        code_ranges(summary),
        year_on_year(summary, years.get(year - 1)),
        no_file_twice(summary, years),
        no_duplicate_accidents(summary, duplicates.get(year)),
    ]


def data_problems(
    years: Mapping[int, Summary],
    used: Iterable[int] | None = None,
    duplicates: Mapping[int, Duplicates] = NO_DUPLICATES,
) -> list[str]:
    """Reasons why the stored years (or those of them that are `used`) may not teach or promote a model."""
    return [
        outcome.reason
        for year in (years if used is None else used)
        for outcome in check_year(years, year, duplicates)
        if outcome.blocking and not outcome.passed
    ]
