"""Lines of one accident in a file: context as in ingestion, in any order within the window, partial beyond it."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest

from accident_reco.models.accidents.data.victims import build_victims
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.scoring.files.limits import FileLimits
from accident_reco.models.accidents.scoring.files.score import score_rows
from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco_tests.support.flat_files import (
    CountingScorer,
    Row,
    join_columns,
    join_tables,
    score_csv,
    write_csv,
)
from accident_reco_tests.support.real_accidents import real_bundle

SCORER = AccidentScorer.from_files(real_bundle().files)
FILES = sample_year(2023, 900)


@pytest.fixture(scope="module")
def year() -> pd.DataFrame:
    """People of a sample year whose accidents have no vehicle without users: those are in no line of a joined file."""
    victims = build_victims(FILES, 2023).victims.reset_index(drop=True)
    vehicles = victims.groupby("Num_Acc")["id_vehicule"].transform("nunique")
    return victims[vehicles == victims["nb_vehicles"]]


@pytest.fixture(scope="module")
def rows(year: pd.DataFrame) -> list[Row]:
    """Their lines, as published."""
    wanted = set(year["id_usager"])
    return [row for row in join_tables(FILES) if row["id_usager"].replace("\u00a0", "") in wanted]


def test_context_and_probability_are_those_of_ingestion(year: pd.DataFrame, rows: list[Row]) -> None:
    """Bit for bit, column by column; every line says that its context is complete."""
    scored = score_csv(write_csv(rows), SCORER)
    answer = join_columns(scored)
    assert answer["context"] == ["full"] * len(rows)
    for name in CONTEXT_COLUMNS:
        found = np.concatenate([some.rows.columns[name] for some in scored])
        assert np.array_equal(found, year[name].to_numpy()), name
    expected = SCORER.probability({name: year[name].to_numpy() for name in year.columns})
    assert answer["probability"] == expected.tolist()


def test_order_within_the_window_does_not_matter(rows: list[Row]) -> None:
    """Shuffled as a whole, a file of less than two windows has the same answers, in the order of its lines."""
    shuffled = random.Random(3).sample(rows, len(rows))
    first, second = (join_columns(score_csv(write_csv(some), SCORER)) for some in (rows, shuffled))
    assert second["line"] == list(range(2, len(rows) + 2))
    assert set(second["context"]) == {"full"}
    by_user = dict(zip(first["id_usager"], first["probability"], strict=True))
    # The other user of a record is the first one in the order of lines, which a shuffle changes.
    same = [by_user[user] == p for user, p in zip(second["id_usager"], second["probability"], strict=True)]
    assert np.mean(same) > 0.5


def _build_lines(numbers: list[int]) -> bytes:
    lines = [
        {"Num_Acc": str(202400000000 + number), "num_veh": f"A{row:02d}", "catu": "1", "catv": "7"}
        for row, number in enumerate(numbers)
    ]
    return write_csv(lines)


def test_accidents_that_come_apart_are_partial() -> None:
    """Beyond the window a later line of an accident cannot know the earlier ones: it says so and names the fix."""
    limits = FileLimits(window_lines=9_000)
    filler = list(range(100, 60_000))
    numbers = [1, *filler[:8_000], 1, *filler[8_000:], 1]
    answer = join_columns(score_csv(_build_lines(numbers), CountingScorer(), limits, piece=50_000))
    assert len(answer["line"]) == len(numbers)
    at = [position for position, number in enumerate(numbers) if number == 1]
    assert [answer["context"][position] for position in at] == ["full", "full", "partial"]
    assert [answer["probability"][position] for position in at] == [0.02, 0.02, 0.01]
    assert "more than 9000 lines before; sort the file by Num_Acc" in answer["notes"][at[2]]
    others = [position for position in range(len(numbers)) if position not in set(at)]
    assert {answer["context"][position] for position in others} == {"full"}


def test_sorted_files_of_any_length_are_whole() -> None:
    """Accidents that lie across blocks and windows are seen together."""
    numbers = [number for number in range(13_000) for _ in range(3)]
    limits = FileLimits(window_lines=2_000)
    answer = join_columns(score_csv(_build_lines(numbers), CountingScorer(), limits, piece=30_000))
    assert set(answer["context"]) == {"full"}
    assert set(answer["probability"]) == {0.03}


@pytest.mark.parametrize("missing", ["Num_Acc", "num_veh", "catu", "catv"])
def test_missing_columns_are_partial(missing: str) -> None:
    """Without the number, a name of vehicles, or the kinds of users and vehicles the context is not complete."""
    lines = [{"Num_Acc": "202400000001", "num_veh": "A01", "catu": "1", "catv": "7", "lum": "1"}]
    names = [name for name in lines[0] if name != missing]
    assert join_columns(score_csv(write_csv(lines, names), CountingScorer()))["context"] == ["partial"]
    assert join_columns(score_csv(write_csv(lines), CountingScorer()))["context"] == ["full"]


def test_incomplete_lines_make_their_accident_partial() -> None:
    """A driver without a vehicle, or a number that is none; the accident beside it stays complete."""
    good = {"Num_Acc": "202400000001", "num_veh": "A01", "catu": "1", "catv": "7"}
    lines = [good, good | {"Num_Acc": "202400000002", "num_veh": ""}, good | {"Num_Acc": "2,024E+11"}]
    answer = join_columns(score_csv(write_csv(lines), CountingScorer()))
    assert answer["context"] == ["full", "partial", "partial"]
    assert "Num_Acc = 2,024E+11 has lost its digits" in answer["notes"][2]
    assert answer["probability"] == [0.01, 0.01, 0.5]


def test_vehicles_are_found_by_the_name_that_all_lines_have() -> None:
    """`id_vehicule`, or `num_veh` in accidents where an id is missing; two users of one car have one vehicle."""
    base = {"Num_Acc": "202400000001", "id_vehicule": "155 781 758", "num_veh": "A01", "catu": "1", "catv": "7"}
    other = {"Num_Acc": "202400000002"}
    lines = [base, base | {"catu": "2"}, base | other, base | other | {"id_vehicule": "", "catu": "2"}]
    (scored,) = score_csv(write_csv(lines), CountingScorer())
    assert scored.rows.columns["nb_vehicles"].tolist() == [1, 1, 1, 1]
    assert scored.rows.columns["nb_occupants"].tolist() == [2, 2, 2, 2]


def test_stated_context_is_used() -> None:
    """A file that brings its context (from a database, say) keeps it, and is complete with it alone."""
    stated = {name: "1990" if name.endswith("an_nais") else "1" for name in CONTEXT_COLUMNS}
    lines = [{"catu": "1"} | stated, {"catu": "1"} | stated | {"nb_users": "-1"}]
    answer = join_columns(score_csv(write_csv(lines), CountingScorer()))
    assert answer["context"] == ["full", "partial"]
    assert answer["probability"] == [0.01, 0.5]


def test_rows_without_any_known_column_are_scored() -> None:
    """A line of separators is a road user of whom nothing is known."""
    (scored,) = score_csv(b"catu;catv\n;\n", SCORER)
    assert scored.answer.probability.tolist() == SCORER.probability({"catu": np.array([-1])}).tolist()
    assert len(score_rows(SCORER, scored.rows).probability) == 1
