"""The summary of a scored file, from the writers of the service."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest

from accident_reco.models.accidents.scoring.files.answers import CsvWriter, ParquetWriter, ScoredRows
from accident_reco.models.accidents.scoring.files.rows import RoadUserRows
from accident_reco.models.accidents.scoring.scorer import Answer
from accident_reco.models.accidents.serving.console.file_summary import (
    BINS,
    CSV,
    MAX_RISKIEST,
    PARQUET,
    Dot,
    summarise,
)

WRITERS = {CSV: CsvWriter, PARQUET: ParquetWriter}
N = 100


def write_answer(media_type: str, *, is_complete: bool = True) -> io.BytesIO:
    """The result for `N` road users in two blocks, with probabilities 0, 0.01, … and one line that is no row."""
    writer = WRITERS[media_type](with_locations=True)
    content = writer.begin()
    for start in (0, N // 2):
        at = np.arange(start, start + N // 2)
        p = at / N
        rows = RoadUserRows(
            line=at + 2,
            columns={"lat": np.where(at % 2, 48.857, np.nan), "long": np.where(at % 2, 2.352, np.nan)},
            texts={"dep": pa.array(["75" if each % 2 else None for each in at])},
            keys={"Num_Acc": pa.array([f"2023{each:08}" for each in at])},
            notes=["=note; 1\nsecond line" if each == 7 else "" for each in at],
            is_full=at % 4 > 0,
            errors={102: "7 cells instead of 3"} if start else {},
        )
        scored = ScoredRows(rows, Answer(p, p >= 0.5, (p > 0.4) & (p < 0.6)), [f"id-{each}" for each in at], 0.1)
        content += writer.write(scored)
    return io.BytesIO(content + (writer.end() if is_complete else b""))


@pytest.mark.parametrize("media_type", WRITERS)
def test_both_forms_have_the_same_summary(media_type: str) -> None:
    """Counts, histogram, riskiest rows, errors and dots."""
    summary = summarise(write_answer(media_type), media_type)
    assert (summary.predicted, summary.refused, summary.severe) == (N, 1, 50)
    assert (summary.uncertain, summary.partial, summary.noted) == (19, 25, 1)
    assert summary.mean == pytest.approx(0.495)
    assert sum(summary.counts) == N
    assert (len(summary.counts), len(summary.edges)) == (BINS, BINS + 1)
    assert [row["probability"] for row in summary.riskiest] == [(N - 1 - at) / N for at in range(MAX_RISKIEST)]
    assert summary.riskiest[0]["Num_Acc"] == "202300000099"
    assert [(row["line"], row["error"]) for row in summary.errors] == [(102, "7 cells instead of 3")]
    (dot,) = summary.dots
    assert (dot.count, dot.mean) == (50, pytest.approx(0.5))


def test_an_empty_file_has_no_mean() -> None:
    """A header without lines."""
    summary = summarise(io.BytesIO(CsvWriter(with_locations=True).begin()), CSV)
    assert (summary.predicted, summary.mean, summary.riskiest) == (0, None, [])


def test_a_broken_answer_is_an_error() -> None:
    """Parquet without its footer, a page instead of a table."""
    with pytest.raises(ValueError, match=r"."):
        summarise(write_answer(PARQUET, is_complete=False), PARQUET)
    with pytest.raises(ValueError, match=r"."):
        summarise(io.BytesIO(b"<p>no table</p>\n"), CSV)


def test_dots_grow_and_change_colour() -> None:
    """By number and by mean probability, within bounds."""
    assert [Dot(0, 0, count, 0.1).radius for count in (1, 100, 10_000)] == [2.5, 7, 8]
    assert [Dot(0, 0, 1, mean).tone for mean in (0.1, 0.2, 0.5)] == ["good", "warn", "bad"]
