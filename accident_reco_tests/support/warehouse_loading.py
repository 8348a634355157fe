"""Test cases of accident years in a warehouse, for every database."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from accident_reco.models.accidents.codebook import FIELDS
from accident_reco.models.accidents.data.queries import (
    count_rows,
    delete_years,
    load_year,
    read_loaded_years,
    save_codebook,
)
from accident_reco.models.accidents.data.tables import accidents, quarantine, victims
from accident_reco.models.accidents.data.victims import AccidentYear, build_victims
from accident_reco.models.accidents.sample import sample_year
from accident_reco.storage.migrations.accident_views import VIEWS
from accident_reco.storage.model_metrics import save_metrics
from accident_reco.storage.tables.lifecycle import model_metrics
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.baac import year

FACTS = {"data_source": "sample", "victims_sha256": "0" * 64, "refused": 0, "repaired": 0, "months": 12}


def read_view(warehouse: Warehouse, name: str) -> list[dict[str, Any]]:
    """Rows of a dashboard view."""
    with warehouse.connect() as connection:
        return [dict(row) for row in connection.execute(text(f"SELECT * FROM {name}")).mappings()]


def frames(built: AccidentYear) -> dict[str, Any]:
    return {name: getattr(built, name) for name in ("accidents", "places", "vehicles", "victims", "quarantine")}


def years_are_replaced_whole(warehouse: Warehouse) -> None:
    """Loading twice changes nothing, a corrected year replaces its own rows, a broken one leaves the old."""
    first = build_victims(sample_year(2022, 400), 2022)
    second = build_victims(sample_year(2023, 400), 2023)
    for an, built in ((2022, first), (2023, second), (2022, first)):
        load_year(warehouse, an, frames(built), FACTS)
    counts = count_rows(warehouse)
    assert counts["victims"] == len(first.victims) + len(second.victims)
    assert counts["places"] == len(first.places) + len(second.places)
    assert {an: row["people"] for an, row in read_loaded_years(warehouse).items()} == {
        2022: len(first.victims),
        2023: len(second.victims),
    }

    corrected = build_victims(sample_year(2022, 300, seed=1), 2022)
    load_year(warehouse, 2022, frames(corrected), FACTS)
    assert count_rows(warehouse)["victims"] == len(corrected.victims) + len(second.victims)

    broken = frames(first) | {"victims": first.victims.assign(grav=-1)}
    with pytest.raises((DBAPIError, psycopg2.Error)):  # COPY speaks to the driver
        load_year(warehouse, 2022, broken, FACTS)
    assert count_rows(warehouse)["victims"] == len(corrected.victims) + len(second.victims)
    delete_years(warehouse, [2022])
    assert list(read_loaded_years(warehouse)) == [2023]
    assert count_rows(warehouse)["accidents"] == len(second.accidents)


def values_arrive_as_they_are(warehouse: Warehouse) -> None:
    """NULL for unknown, zero kept, quotes, backslashes, semicolons and empty text unharmed."""
    adr = 'RUE DE L\'"ÉGLISE\\N, 3; "NUL"'
    built = build_victims(
        year(
            {
                ("caracteristiques", 0, "adr"): adr.replace('"', '""'),
                ("caracteristiques", 0, "lum"): " -1",
                ("usagers", 1, "sexe"): "9",
            }
        ),
        2023,
    )
    load_year(warehouse, 2023, frames(built), FACTS)
    with warehouse.connect() as connection:
        row = connection.execute(select(accidents).order_by(accidents.c.Num_Acc)).mappings().first()
        assert row is not None
        assert (row["adr"], row["lum"], row["an"], row["hrmn"]) == (adr, None, 2023, 600)
        assert row["lat"] == pytest.approx(48.866386)
        people = connection.execute(select(victims).order_by(victims.c.Num_Acc, victims.c.rang)).mappings().all()
        assert [person["sexe"] for person in people] == [1, None, 2, 2]
        assert [person["rang"] for person in people] == [1, 2, 1, 2]
        assert (people[3]["secu1"], people[3]["actp"], people[3]["catv"]) == (0, 10, 37)
        note = connection.execute(select(quarantine)).mappings().one()
        assert note["message"].startswith("usagers-2023.csv line 3: sexe = 9 is not in {1, 2}")


def views_answer(warehouse: Warehouse) -> None:
    """Every dashboard view runs, and its sums are the people in the tables."""
    built = build_victims(sample_year(2022, 500), 2022)
    load_year(warehouse, 2022, frames(built), FACTS)
    words = [(f.name, code, fr, en) for f in FIELDS.values() for code, (fr, en) in (f.codes or {}).items()]
    save_codebook(warehouse, words)
    save_codebook(warehouse, words)
    for name in VIEWS:
        rows = read_view(warehouse, name)
        assert rows or name == "quarantine_by_rule"
        if name not in ("quarantine_by_rule", "accident_map", "accident_outcomes_by_hour"):
            assert sum(row["people"] for row in rows) == len(built.victims), name
    by_user = {row["road_user"]: row for row in read_view(warehouse, "accident_outcomes_by_user")}
    assert set(by_user) == {"Driver", "Passenger", "Pedestrian"}
    killed = int((built.victims.grav == 2).sum())
    assert sum(row["killed"] for row in by_user.values()) == killed
    with warehouse.connect() as connection:
        (severe,) = connection.execute(text("SELECT sum(hospitalised + killed) FROM accident_outcomes_by_month")).one()
    assert int(severe) == int(built.victims.grav.isin([2, 3]).sum())


def metrics_are_replaced(warehouse: Warehouse) -> None:
    """Numbers of a version are there once, what is no number is left out."""
    for value in (0.8, 0.9):
        metrics = {"roc_auc": value, "slices": {"a": 1}, "name": "x", "nan": float("nan"), "flag": True}
        save_metrics(warehouse, "accidents", "v1", metrics, "sample", "2026-01-02T03:04:05+00:00")
    with warehouse.connect() as connection:
        rows = connection.execute(select(model_metrics)).mappings().all()
    assert [(row["metric"], row["value"]) for row in rows] == [("roc_auc", 0.9)]


CASES = [
    years_are_replaced_whole,
    values_arrive_as_they_are,
    views_answer,
    metrics_are_replaced,
]
