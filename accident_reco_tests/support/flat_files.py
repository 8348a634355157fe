"""Files with one road user per line, made from the four tables of a year, and a scorer that shows what it was given."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.scoring.files.answers import ScoredRows
from accident_reco.models.accidents.scoring.files.limits import FileLimits
from accident_reco.models.accidents.scoring.files.score import FileScoring, read_csv_blocks, score_blocks
from accident_reco.models.accidents.scoring.scorer import Answer

Row = dict[str, str]


class CountingScorer:
    """Probability 0.01 for each user of the accident, as far as the context is known; 0.5 where it is not."""

    def answer(self, columns: Mapping[str, np.ndarray]) -> Answer:
        count = len(next(iter(columns.values())))
        users = columns.get("nb_users", np.full(count, -1))
        probability = np.where(users < 0, 0.5, users / 100)
        return Answer(probability, probability >= 0.5, probability < 0)


def parse_rows(data: bytes) -> list[Row]:
    """Rows of a CSV separated by semicolons."""
    return list(csv.DictReader(io.StringIO(data.decode()), delimiter=";"))


def join_tables(files: Mapping[str, RawFile]) -> list[Row]:
    """One row per road user, cells as published: the user, the vehicle, the accident, the main road."""
    tables = {name: parse_rows(files[name].data) for name in TABLES}
    main = build_victims(files).places["principal"].tolist()
    accidents = {row["Num_Acc"]: row for row in tables["caracteristiques"]}
    roads = {row["Num_Acc"]: row for row, is_main in zip(tables["lieux"], main, strict=True) if is_main}
    vehicles = {(row["Num_Acc"], row["id_vehicule"]): row for row in tables["vehicules"]}
    return [
        accidents[user["Num_Acc"]]
        | roads[user["Num_Acc"]]
        | vehicles.get((user["Num_Acc"], user["id_vehicule"]), {})
        | user
        for user in tables["usagers"]
    ]


def write_csv(rows: Sequence[Row], names: Iterable[str] = (), delimiter: str = ";") -> bytes:
    """A CSV with the columns `names`, default those of the first row."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(names) or list(rows[0]), delimiter=delimiter, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def score_csv(data: bytes, scorer: Any, limits: FileLimits | None = None, piece: int = 1 << 20) -> list[ScoredRows]:
    """The scored rows of a CSV that arrives in pieces of so many bytes."""
    limits = limits or FileLimits()
    pieces = (data[start : start + piece] for start in range(0, len(data), piece))
    return list(score_blocks(read_csv_blocks(pieces, limits), FileScoring(scorer, limits)))


def join_columns(scored: Iterable[ScoredRows]) -> dict[str, list[Any]]:
    """Column of the answer → values of all rows."""
    joined: dict[str, list[Any]] = {}
    for some in scored:
        for name, values in some.columns().items():
            joined.setdefault(name, []).extend(values)
    return joined
