"""Checks of year summaries: tables of cases, grouped by cause."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from accident_reco.models.accidents.assets.ingest import CHECKS
from accident_reco.models.accidents.data.causes import RULES_IN_ORDER
from accident_reco.models.accidents.data.checks import (
    CheckOutcome,
    check_freshness,
    check_year,
    find_data_problems,
    summarise,
)
from accident_reco.models.accidents.data.duplicates import Duplicates
from accident_reco.models.accidents.data.quarantine import RULES
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco_tests.support.baac import year


def _summary(an: int, **changes: Any) -> dict[str, Any]:
    files = {
        table: {"name": f"{table}-{an}.csv", "url": "x", "sha256": f"{table}{an}", "size": 1}
        for table in ("caracteristiques", "lieux", "vehicules", "usagers")
    }
    summary = {
        "an": an,
        "data_source": "official",
        "files": files,
        "counts": {
            "caracteristiques": [50_000, 50_000, 0],
            "lieux": [60_000, 60_000, 0],
            "vehicules": [90_000, 90_000, 0],
            "usagers": [120_000, 120_000, 0],
        },
        "victims": 120_000,
        "months": 12,
        "grave_share": 0.18,
        "repeated": {"Num_Acc": 0, "id_vehicule": 0, "id_usager": 0},
        "other_years": 0,
        "outside_codebook": {},
        "repaired": {"actp": 50},
        "rules": {"code": 50},
    }
    summary = deepcopy(summary)
    summary.update(changes)
    return summary


def _of(outcomes: list[CheckOutcome], name: str) -> CheckOutcome:
    return next(outcome for outcome in outcomes if outcome.name == name)


def test_good_years_pass() -> None:
    """Two ordinary years pass all checks, each with a reason."""
    years = {
        2022: _summary(2022),
        2023: _summary(2023, victims=125_000, counts={**_summary(2023)["counts"], "usagers": [125_000, 125_000, 0]}),
    }
    assert find_data_problems(years) == []
    outcomes = check_year(years, 2023)
    assert all(outcome.passed and outcome.blocking for outcome in outcomes)
    reason = "2023: 125,000 road users in, 125,000 out, 0 refused with a reason"
    assert _of(outcomes, "one_row_per_road_user").reason == reason


def test_every_check_of_the_asset_has_outcomes() -> None:
    """Dagster's checks select outcomes by name: a check without any would always pass."""
    years = {2023: _summary(2023)}
    assert [outcome.name for outcome in check_year(years, 2023)] == list(CHECKS)


@pytest.mark.parametrize(
    ("check", "changes", "reason"),
    [
        ("one_row_per_road_user", {"victims": 119_999}, "rows not accounted for"),
        ("one_row_per_road_user", {"counts": {"usagers": [10, 8, 1]}, "victims": 8}, "accounted for: {'usagers': 1}"),
        (
            "one_row_per_road_user",
            {"counts": {"usagers": [100, 97, 3]}, "victims": 97},
            "refused 3.0% of usagers; at most",
        ),
        ("one_row_per_road_user", {"counts": {"usagers": [0, 0, 0]}, "victims": 0}, "no road user is left"),
        ("keys_unique", {"repeated": {"id_usager": 3}}, "{'id_usager': 3} repeated"),
        ("referential_integrity", {"rules": {"no_vehicle": 2_400}}, "2.00% road users without vehicle"),
        ("referential_integrity", {"rules": {"no_place": 1_000}}, "2.00% accidents without road"),
        ("code_ranges", {"outside_codebook": {"catv": 3}}, "3 catv outside the codebook"),
        ("code_ranges", {"repaired": {"vma": 6_000}}, "5.0% of vma repaired"),
        ("code_ranges", {"other_years": 4}, "4 road users of another year"),
        ("year_on_year", {"victims": 60_000}, "50% of the road users per month of 2022 (band 60% to 160%)"),
        ("year_on_year", {"grave_share": 0.3}, "share of killed or hospitalised 30.0%, 167% of 2022's 18.0%"),
        ("files_unique", {"files": _summary(2022)["files"]}, "usagers-2022.csv is usagers-2022.csv of 2022"),
    ],
)
def test_bad_year(check: str, changes: dict[str, Any], reason: str) -> None:
    """Each problem of a year fails its own check, blocks, and reaches promotion with the same reason."""
    base = _summary(2023)
    if "counts" in changes:
        changes = {**changes, "counts": {**base["counts"], **changes["counts"]}}
    years = {2022: _summary(2022), 2023: {**base, **changes}}
    outcome = _of(check_year(years, 2023), check)
    assert not outcome.passed
    assert outcome.blocking
    assert reason in outcome.reason
    assert outcome.reason in find_data_problems(years)


@pytest.mark.parametrize(
    ("found", "accidents", "passed"),
    [
        (41, 50_000, True),  # 0.08 %, as in 2024
        (1_000, 50_000, True),
        (1_001, 50_000, False),
        (50_000, 50_000, False),
        (3, 40, True),  # so few may be chance, independently of their share
        (4, 40, False),
    ],
)
def test_accidents_of_another_year(found: int, accidents: int, passed: bool) -> None:
    """A year republished under other numbers fails with count, years, numbers and the fix; a few coincidences pass."""
    counts = {**_summary(2024)["counts"], "caracteristiques": [accidents, accidents, 0]}
    years = {2024: _summary(2024, counts=counts)}
    example = (202400000001, 202300000007, 2023)
    duplicates = {2024: Duplicates(found, {2023: found - 1, 2024: 1}, [example])}
    outcome = _of(check_year(years, 2024, duplicates), "no_duplicate_accidents")
    assert (outcome.passed, outcome.blocking, outcome.numbers["duplicates"]) == (passed, True, found)
    assert outcome.reason.startswith(f"2024: {found:,} of {accidents:,} accidents")
    assert f"({found - 1:,} of 2023, 1 of 2024; such as 202400000001 = 202300000007 of 2023)" in outcome.reason
    assert ("Fix: put the year's own files" in outcome.reason) == (not passed)
    assert find_data_problems(years, duplicates=duplicates) == ([] if passed else [outcome.reason])


def test_hospitalised_before_and_after_2018() -> None:
    """The definition of hospitalised changed in 2018: the shares of 2017 and 2018 are not compared."""
    years = {2017: _summary(2017, grave_share=0.27), 2018: _summary(2018, grave_share=0.18)}
    outcome = _of(check_year(years, 2018), "year_on_year")
    assert outcome.passed
    assert "defined otherwise since 2018" in outcome.reason
    years = {2018: _summary(2018, grave_share=0.27), 2019: _summary(2019, grave_share=0.18)}
    assert not _of(check_year(years, 2019), "year_on_year").passed


def test_part_of_a_year_is_compared_by_month() -> None:
    """January to September has fewer road users than a year, but not fewer per month."""
    part = _summary(2024, victims=90_000, months=9, counts={**_summary(2024)["counts"], "usagers": [90_000, 90_000, 0]})
    assert _of(check_year({2023: _summary(2023), 2024: part}, 2024), "year_on_year").passed


def test_small_samples_may_scatter() -> None:
    """With three hundred sample road users the severe share differs from year to year by chance alone."""
    counts = {table: [300, 300, 0] for table in _summary(2022)["counts"]}
    years = {
        an: _summary(an, victims=300, counts=counts, repaired={}, grave_share=share)
        for an, share in ((2022, 0.16), (2023, 0.11))
    }
    assert _of(check_year(years, 2023), "year_on_year").passed


def test_other_sources_are_not_compared() -> None:
    """A sample year is no reference for a real one."""
    years = {2022: _summary(2022, data_source="sample", victims=10_000), 2023: _summary(2023)}
    assert "no year before it" in _of(check_year(years, 2023), "year_on_year").reason


def test_freshness_warns() -> None:
    """Old data is a warning and does not block."""
    old = check_freshness({2015: _summary(2015)}, datetime(2026, 1, 1, tzinfo=UTC))
    assert (old.passed, old.blocking) == (False, False)
    assert check_freshness({2024: _summary(2024)}, datetime(2026, 1, 1, tzinfo=UTC)).passed
    assert not check_freshness({}, datetime(2026, 1, 1, tzinfo=UTC)).passed


def test_summary_of_a_merged_year() -> None:
    """The summary has the counts of the merge."""
    built = build_victims(year({("usagers", 0, "sexe"): "9", ("usagers", 1, "grav"): "0"}), 2023)
    records = {
        name: {"name": name, "url": "u", "sha256": name, "size": 1, "data_source": "directory"} for name in built.counts
    }
    summary = summarise(built, 2023, records, "abc")
    assert summary["counts"]["usagers"] == [4, 3, 1]
    assert summary["victims"] == 3
    assert summary["grave_share"] == pytest.approx(1 / 3, abs=1e-6)
    assert summary["repaired"] == {"sexe": 1}
    assert summary["rules"] == {"code": 1, "severity": 1}
    assert summary["data_source"] == "directory"
    refused, repaired = find_data_problems({2023: summary})
    assert refused == (
        "2023: usagers-2023.csv line 3: grav = 0 is not in {1, 2, 3, 4}; row kept in quarantine; refused 25.0% of "
        "usagers; at most 2% may be. Fix: fill in grav; rows without it are not used in training"
    )
    assert repaired == (
        "2023: usagers-2023.csv line 2: sexe = 9 is not in {1, 2}; read as unknown; 25.0% of sexe repaired. "
        "Fix: use the usagers file as published, or correct sexe in it"
    )


def test_cause_before_its_consequence() -> None:
    """Accidents of another year leave their road users orphaned: the checks of both begin with the accidents."""
    changes = {("caracteristiques", row, "an"): "2022" for row in (0, 1)}
    built = build_victims(year(changes), 2023)
    records = {name: {"name": name, "url": "u", "sha256": name, "size": 1, "data_source": "x"} for name in built.counts}
    problems = find_data_problems({2023: summarise(built, 2023, records, "abc")})
    assert len(problems) == 2
    cause = "2023: caract-2023.csv line 2: an = 2022 is not the year of the file (2023); row kept in quarantine (2 such"
    assert all(problem.startswith(cause) for problem in problems)
    assert all(problem.endswith("Fix: move the row to the file of its year") for problem in problems)


def test_every_rule_has_its_place_among_the_causes() -> None:
    """A rule without a place would never be named as a cause."""
    assert sorted(RULES_IN_ORDER) == sorted(RULES)


def test_doubled_file_of_a_year_without_ids() -> None:
    """Until 2020 users have no id: a file whose rows are all repeated is found by identical rows."""
    from accident_reco.models.accidents.sample import sample_year

    files = sample_year(2016, 300)
    users = files["usagers"]
    _, rows = users.data.split(b"\n", 1)
    files["usagers"] = RawFile(users.name, users.data + rows)
    records = {name: {"name": name, "url": "u", "sha256": name, "size": 1, "data_source": "x"} for name in files}
    built = build_victims(files, 2016)
    assert len(built.victims) == built.counts["usagers"].rows_in
    (reason,) = find_data_problems({2016: summarise(built, 2016, records, "abc")})
    assert reason == "2016: 50% of the users equal another one in every column: the file is doubled"
    single = build_victims(sample_year(2016, 300), 2016)
    assert find_data_problems({2016: summarise(single, 2016, records, "abc")}) == []
