"""Accidents published more than once: found by content in real and sample years, and used at most once."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.data.checks import MAX_DUPLICATES
from accident_reco.models.accidents.data.duplicates import (
    COLUMNS,
    AccidentContents,
    find_duplicates_by_year,
    find_excluded_accidents,
)
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.sample import sample_year
from accident_reco_tests.support.republished import republished, rewritten

TABLES = {"caracteristiques": "caract", "lieux": "lieux", "vehicules": "vehicules", "usagers": "usagers"}
CONTENT = [name for name in COLUMNS if name not in ("Num_Acc", "an")]


@pytest.fixture(scope="module")
def real(baac_dir: Path) -> pd.DataFrame:
    """January to September 2024 as published: 93,686 road users of 40,748 accidents."""
    folder = baac_dir / "2024"
    names = {table: f"{stem}-2024.csv" for table, stem in TABLES.items()}
    files = {table: RawFile(name, (folder / name).read_bytes()) for table, name in names.items()}
    return build_victims(files, 2024).victims


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    return build_victims(sample_year(2023, 3_000), 2023).victims


@pytest.fixture(params=["sample", "real"])
def year(request: pytest.FixtureRequest) -> pd.DataFrame:
    """Some thousand road users: of a sample year, of the real one."""
    victims: pd.DataFrame = request.getfixturevalue(request.param)
    return victims[victims["Num_Acc"].isin(victims["Num_Acc"].unique()[:1_200])]


def found_share(original: pd.DataFrame, copy: pd.DataFrame) -> float:
    """Share of the accidents of a copy that are found in the original."""
    contents = AccidentContents.concatenate(
        [AccidentContents.from_victims(original), AccidentContents.from_victims(copy)]
    )
    of_copy = find_duplicates_by_year(contents).get(2030)
    return (of_copy.by_year.get(int(original["an"].iloc[0]), 0) if of_copy else 0) / copy["Num_Acc"].nunique()


@pytest.mark.slow
def test_any_two_columns_may_be_rewritten(year: pd.DataFrame) -> None:
    """A publisher rewrites any two columns of a year: 99 % of the accidents are found."""
    copy = republished(year, 2030)
    missed = {}
    for names in combinations(CONTENT, 2):
        share = found_share(year, rewritten(copy, *names))
        if share < 0.99:
            missed[names] = share
    assert missed == {}


def _rounded(digits: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda victims: victims.assign(lat=victims.lat.round(digits), long=victims.long.round(digits))


@pytest.mark.parametrize(
    "change",
    [
        lambda victims: victims,
        _rounded(3),
        _rounded(1),
        lambda victims: victims.assign(an_nais=np.where(victims.an_nais > 0, victims.an_nais + 7, -1)),
        lambda victims: victims.assign(an_nais=np.int16(-1), sexe=np.int16(-1)),
        lambda victims: victims.assign(hrmn=victims.hrmn // 100 * 100),
        lambda victims: victims.assign(mois=np.int16(-1), jour=np.int16(-1), hrmn=np.int16(-1)),
        lambda victims: victims.assign(com=None, lat=np.nan, long=np.nan),
        lambda victims: victims.assign(jour=victims.jour % 28 + 1, an_nais=victims.an_nais + 1),
        lambda victims: victims[victims["Num_Acc"] % 3 > 0],
    ],
    ids=["as it is", "metres", "10 km", "ages kept", "no person", "hours", "no date", "no place", "weekdays", "part"],
)
def test_republished_year_is_found(year: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Changes of a republished year after which at least 99 % of its accidents are still found."""
    assert found_share(year, change(republished(year, 2030))) >= 0.99


def test_real_accidents_are_rarely_duplicates(real: pd.DataFrame) -> None:
    """Some accidents of 2024 were recorded by two police services; far fewer than the check allows."""
    found = find_duplicates_by_year(AccidentContents.from_victims(real))[2024]
    assert found.accidents == 34
    assert found.accidents / real["Num_Acc"].nunique() < MAX_DUPLICATES / 20
    # A cyclist and an electric cyclist of one collision in département 84: same minute, place and persons.
    twice = AccidentContents.from_victims(real[real["Num_Acc"].isin([202400008754, 202400030698])])
    assert find_duplicates_by_year(twice)[2024].examples[0] == (202400008754, 202400030698, 2024)


@pytest.mark.parametrize("name", CONTENT)
def test_missing_column_makes_no_duplicates(real: pd.DataFrame, name: str) -> None:
    """Accidents of a file without a column are not duplicates of each other."""
    missing = None if real[name].dtype.kind == "O" else np.nan if real[name].dtype.kind == "f" else np.int16(-1)
    found = find_duplicates_by_year(AccidentContents.from_victims(real.assign(**{name: missing}))).get(2024)
    assert found is None or found.accidents / real["Num_Acc"].nunique() < MAX_DUPLICATES / 10


def test_sample_years_do_not_coincide() -> None:
    """The years that a new home begins with have no duplicates: its models are what they were."""
    years = [build_victims(sample_year(year, 10_000), year).victims for year in (2021, 2022, 2023, 2024)]
    contents = AccidentContents.concatenate(map(AccidentContents.from_victims, years))
    assert find_duplicates_by_year(contents) == {}
    assert not len(find_excluded_accidents(contents))


def test_contents_do_not_depend_on_order_or_frame(sample: pd.DataFrame) -> None:
    """Rows in another order, narrower columns, one frame or several: the same contents."""
    whole = AccidentContents.from_victims(sample)
    shuffled = sample.sample(frac=1, random_state=3).astype({"nb_vehicles": "int16", "mois": "int64"})
    halves = [sample[sample["Num_Acc"] % 2 == rest] for rest in (1, 0)]
    for other in (
        AccidentContents.from_victims(shuffled),
        AccidentContents.concatenate(map(AccidentContents.from_victims, halves)),
    ):
        np.testing.assert_array_equal(other.number, whole.number)
        np.testing.assert_array_equal(other.hashes, whole.hashes)


def _numbers(held_out: bool, year: int) -> list[int]:
    numbers = np.arange(year * 10**8, year * 10**8 + 200)
    chosen: list[int] = numbers[in_holdout(numbers) == held_out].tolist()
    return chosen


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("train", "train", ["first"]),
        ("held out", "held out", ["first"]),
        ("held out", "train", ["first"]),
        ("train", "held out", []),
    ],
)
def test_equal_accidents_are_used_once_and_never_on_both_sides(
    sample: pd.DataFrame, first: str, second: str, kept: list[str]
) -> None:
    """One accident under two numbers: the one that is used, by the sides that the numbers alone would be on."""
    one = sample[sample["Num_Acc"] == sample["Num_Acc"].iloc[0]]
    numbers = {"first": _numbers(first == "held out", 2023)[0], "second": _numbers(second == "held out", 2024)[0]}
    victims = pd.concat([one.assign(Num_Acc=number) for number in numbers.values()])
    excluded = find_excluded_accidents(AccidentContents.from_victims(victims)).tolist()
    assert [name for name, number in numbers.items() if number not in excluded] == kept


def test_no_content_trains_and_evaluates(year: pd.DataFrame) -> None:
    """A year published three times: of every content at most one accident is left, on the side of its first number."""
    years = [year, republished(year, 2030), republished(year, 2031, seed=2)]
    contents = AccidentContents.concatenate(map(AccidentContents.from_victims, years))
    left = ~np.isin(contents.number, find_excluded_accidents(contents))
    assert (contents.year[left] < 2030).all()
    # Those with no number held out train, 0.8³ of them; those with the first one held out evaluate, 0.2.
    assert left.mean() * 3 == pytest.approx(0.712, abs=0.05)
    for key in contents.hashes[left].T:
        assert not pd.Series(key[key > 0]).duplicated().any()


@pytest.mark.slow
def test_twenty_years_take_seconds() -> None:
    """A year of 125,000 road users is hashed in well under a second."""
    victims = build_victims(sample_year(2024, 125_000), 2024).victims
    started = time.process_time()
    contents = AccidentContents.from_victims(victims)
    assert time.process_time() - started < 1.5
    many = [
        AccidentContents(contents.number + year, contents.year, contents.hashes + np.uint64(year)) for year in range(20)
    ]
    started = time.process_time()
    find_duplicates_by_year(AccidentContents.concatenate(many))
    assert time.process_time() - started < 15
