"""Sample files: of every era, seeded, read back completely, with learnable relations."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from accident_reco.models.accidents.data.victims import build_victims
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.sample.__main__ import main
from accident_reco.models.accidents.sources.directory import DirectorySource
from accident_reco_tests.support.baac import is_balanced


@pytest.mark.parametrize("year", [2005, 2009, 2016, 2018, 2019, 2020, 2021, 2022, 2024])
def test_every_era_reads_back_whole(year: int) -> None:
    """Generated files are read without losing or refusing a row; irregularities are repaired and reported."""
    built = build_victims(sample_year(year, 2_000), year)
    assert len(built.victims) == built.counts["usagers"].rows_in > 1_500
    assert all(is_balanced(count) and count.refused == 0 for count in built.counts.values())
    assert set(built.eras.values()) == {"until_2018" if year < 2019 else "since_2019"}
    assert set(built.quarantine.rule) <= {"code", "swapped_coordinates", "speed_times_ten"}
    assert (built.victims.groupby("Num_Acc").grav.max() > 1).all()  # nobody hurt, no accident
    assert built.victims.secu1.between(0, 9).mean() > 0.7
    assert built.victims.lum.between(1, 5).all()
    if year >= 2019:
        assert (built.victims.vma > 0).mean() > 0.9


def test_headers_and_names_are_the_publishers() -> None:
    """The typo of 2021/2022, Accident_Id in 2022, tabs in 2009, CRLF in 2018: as in published files."""
    assert sample_year(2022, 100)["caracteristiques"].name == "carcteristiques-2022.csv"
    assert sample_year(2022, 100)["caracteristiques"].data.startswith(b'"Accident_Id";"jour"')
    assert sample_year(2016, 100)["usagers"].name == "usagers_2016.csv"
    assert b"\tan\tmois" in sample_year(2009, 100)["caracteristiques"].data
    assert sample_year(2018, 100)["lieux"].data.count(b"\r\n") > 10
    modern = sample_year(2024, 3_000)
    assert modern["usagers"].data.startswith(b'"Num_Acc";"id_usager";"id_vehicule";"num_veh";"place";"catu";"grav"')
    assert b'" -1"' in modern["usagers"].data
    assert "203\u00a0000\u00a0000".encode() in modern["usagers"].data
    assert b'"N/A"' in modern["lieux"].data
    assert not modern["usagers"].data.endswith(b"\n")
    numbers = [line.split(b";")[0] for line in modern["lieux"].data.splitlines()[1:]]
    assert len(set(numbers)) < len(numbers)  # several rows per accident


def test_same_seed_same_bytes() -> None:
    """A training on sample data is reproducible; another seed gives other data."""
    first, again, other = (sample_year(2023, 500, seed) for seed in (20, 20, 21))
    assert {name: file.data for name, file in first.items()} == {name: file.data for name, file in again.items()}
    assert first["usagers"].data != other["usagers"].data


def test_marginals_and_relations_are_believable() -> None:
    """Shares near the published ones, and severity that depends on its causes as in real data."""
    people = build_victims(sample_year(2024, 30_000), 2024).victims
    shares = people.grav.value_counts(normalize=True)
    assert shares[1] == pytest.approx(0.42, abs=0.06)
    assert shares[2] + shares[3] == pytest.approx(0.18, abs=0.04)
    severe = people.grav.isin([2, 3])

    def rate(mask: np.ndarray) -> float:
        return float(severe[mask].mean())

    age = people.an - people.an_nais.where(people.an_nais > 0)
    car = (people.catv == 7) & (people.catu == 1)
    assert rate(people.catv == 33) > 2 * rate(car)
    assert rate(people.catu == 3) > 2 * rate(car)
    assert rate(car & (people.vma >= 80)) > 1.5 * rate(car & people.vma.between(5, 50))
    assert rate(car & (age >= 75)) > rate(car & age.between(25, 44))
    assert rate(car & (people.secu1 == 0)) > 1.5 * rate(car & (people.secu1 == 1))
    assert rate(car & people.obs.isin([2, 6, 8])) > rate(car & (people.obs == 0))


def test_hospitalised_shifts_in_2018() -> None:
    """Since 2018 fewer count as hospitalised; drift checks must find that in samples as in real data."""
    before, after = (build_victims(sample_year(year, 10_000), year).victims.grav.eq(3).mean() for year in (2017, 2018))
    assert before > after + 0.04


def test_files_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written years are found by a directory source."""
    monkeypatch.setattr("sys.argv", ["sample", "2018-2019", str(tmp_path / "new"), "--people", "60"])
    assert main() == 0
    assert DirectorySource(str(tmp_path / "new")).years() == [2018, 2019]
    assert capsys.readouterr().out.count("\n") == 8
    monkeypatch.setattr("sys.argv", ["sample", "1999", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()


def test_a_million_people_cost_seconds() -> None:
    """Drawing and writing is vectorised: 20,000 people may take twice their share of a minute for 1,000,000."""
    sample_year(2023, 1_000)
    started = time.process_time()
    sample_year(2024, 20_000)
    assert time.process_time() - started < 60 * 20_000 / 1_000_000 * 2
