"""The summary of a scored file: counts, histogram, riskiest road users, a map; read in batches from the answer. Pure.

Imports pyarrow in the functions that read: pages without a file do not need it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

from accident_reco.models.accidents.serving.console.france_map import place

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
BINS: Final = 20
MAX_RISKIEST: Final = 15
MAX_ERRORS: Final = 10
CELL: Final = 8
"""Side of a square of the map whose accidents are one dot, in units of the drawing."""
_COLUMNS: Final = (
    *("line", "Num_Acc", "id_usager", "id_vehicule", "num_veh", "dep", "com", "lat", "long", "prediction_id"),
    *("probability", "severity", "uncertain", "context", "notes", "error"),
)


@dataclass(frozen=True)
class Dot:
    """Road users around one point of the map.

    Args:
        x, y: position in the drawing.
        count: number of road users.
        mean: mean of their probabilities.
    """

    x: float
    y: float
    count: int
    mean: float

    @property
    def radius(self) -> float:
        """Radius of a disc whose area grows with the number, between 2 and 8 units."""
        return round(min(2 + 0.5 * self.count**0.5, 8), 1)

    @property
    def tone(self) -> str:
        """Class of its colour: in three steps of the mean."""
        return "good" if self.mean < 0.15 else "warn" if self.mean < 0.35 else "bad"


@dataclass
class FileSummary:
    """What a scored file holds.

    Args:
        predicted, refused: lines with and without a probability.
        severe, uncertain, partial, noted: among those with one.
        total: sum of the probabilities.
        counts: road users by probability, in `BINS` equal intervals from 0 to 1.
        riskiest: rows with the highest probabilities, the highest first.
        errors: the first lines without one.
        dots: places on the map.
    """

    predicted: int = 0
    refused: int = 0
    severe: int = 0
    uncertain: int = 0
    partial: int = 0
    noted: int = 0
    total: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * BINS)
    riskiest: list[Mapping[str, Any]] = field(default_factory=list)
    errors: list[Mapping[str, Any]] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)

    @property
    def mean(self) -> float | None:
        """Mean probability; None without any."""
        return self.total / self.predicted if self.predicted else None

    @property
    def edges(self) -> list[float]:
        """Limits of the intervals of `counts`."""
        return [at / BINS for at in range(BINS + 1)]


def summarise(file: IO[bytes], media_type: str) -> FileSummary:
    """The summary of an answer of `POST /predict/<model>/csv?locations=true`, CSV or Parquet.

    Raises:
        ValueError: the answer is not complete, or of another form.
    """
    summary, top = FileSummary(), _Top()
    cells: dict[tuple[int, int], tuple[int, float]] = {}
    for rows in _read(file, media_type):
        _add(summary, rows, top, cells)
    summary.riskiest = top.rows()
    summary.dots = [
        Dot((x + 0.5) * CELL, (y + 0.5) * CELL, count, total / count)
        for (x, y), (count, total) in sorted(cells.items())
    ]
    return summary


def _read(file: IO[bytes], media_type: str) -> Iterator[dict[str, list[Any]]]:
    """Batches of the answer by column; missing values are None."""
    import pyarrow as pa

    file.seek(0)
    try:
        for batch in _open(file, media_type):
            yield {name: batch.column(name).to_pylist() for name in _COLUMNS}
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(str(error)) from None


def _open(file: IO[bytes], media_type: str) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    if media_type == PARQUET:
        yield from pq.ParquetFile(file).iter_batches(columns=list(_COLUMNS))
        return
    kinds = {"line": pa.int64(), "probability": pa.float64(), "uncertain": pa.int8()}
    kinds |= {"lat": pa.float64(), "long": pa.float64()}
    types = {name: kinds.get(name, pa.string()) for name in _COLUMNS}
    options = pacsv.ConvertOptions(include_columns=list(_COLUMNS), column_types=types, null_values=[""])
    yield from pacsv.open_csv(
        file, parse_options=pacsv.ParseOptions(delimiter=";", newlines_in_values=True), convert_options=options
    )


class _Top:
    """The rows with the highest probabilities."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Mapping[str, Any]]] = []

    def add(self, probability: float, line: int, rows: Mapping[str, list[Any]], at: int) -> None:
        if len(self._heap) < MAX_RISKIEST or (probability, -line) > self._heap[0][:2]:
            entry = (probability, -line, {name: values[at] for name, values in rows.items()})
            (heapq.heappushpop if len(self._heap) == MAX_RISKIEST else heapq.heappush)(self._heap, entry)

    def rows(self) -> list[Mapping[str, Any]]:
        return [row for *_, row in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def _add(
    summary: FileSummary,
    rows: Mapping[str, list[Any]],
    top: _Top,
    cells: dict[tuple[int, int], tuple[int, float]],
) -> None:
    for at, probability in enumerate(rows["probability"]):
        if probability is None:
            summary.refused += 1
            if len(summary.errors) < MAX_ERRORS:
                summary.errors.append({name: rows[name][at] for name in ("line", "error")})
            continue
        summary.predicted += 1
        summary.total += probability
        summary.counts[min(int(probability * BINS), BINS - 1)] += 1
        summary.severe += rows["severity"][at] == "grave"
        summary.uncertain += bool(rows["uncertain"][at])
        summary.partial += rows["context"][at] == "partial"
        summary.noted += bool(rows["notes"][at])
        top.add(probability, rows["line"][at], rows, at)
        lat, long = rows["lat"][at], rows["long"][at]
        point = place(lat, long) if lat is not None and long is not None else None
        if point is not None:
            cell = int(point[0] // CELL), int(point[1] // CELL)
            count, total = cells.get(cell, (0, 0.0))
            cells[cell] = count + 1, total + probability
