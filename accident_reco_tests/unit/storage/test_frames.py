"""Frames as Parquet: what is written is read again, and a matrix of features is not copied."""

import io

import numpy as np
import pandas as pd
import pytest

from accident_reco.storage import frames


@pytest.fixture
def frame() -> pd.DataFrame:
    """Columns of every kind that assets have, between two matrices of reals."""
    rows = 1_000
    generator = np.random.default_rng(0)
    found = pd.DataFrame(generator.random((rows, 3), dtype=np.float32), columns=["a", "b", "c"])
    found.loc[::7, "b"] = np.nan
    found["number"] = np.arange(rows) * -(10**12)
    found["code"] = generator.integers(-1, 9, rows).astype(np.int16)
    found["text"] = [None if row % 3 else f"text {row}" for row in range(rows)]
    found["degree"] = generator.random(rows)
    found["flag"] = generator.random(rows) < 0.5
    found["when"] = pd.Timestamp("2024-02-29", tz="UTC").as_unit("ns")
    found["kind"] = pd.Categorical(["x", "y"] * (rows // 2))
    found["maybe"] = pd.array([None if row % 5 else row for row in range(rows)], dtype="Int32")
    found["weight"] = np.float32(0.5)
    found.attrs["version"] = "12ab"
    return found


def write(frame: pd.DataFrame) -> io.BytesIO:
    stream = io.BytesIO()
    frames.write_parquet(frame, stream)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("rows", [1_000, 300, 0])
def test_a_frame_is_read_as_it_was_written(frame, rows, monkeypatch):
    """In several row groups and blocks, none of which ends with another; its attributes too, with pandas as well."""
    monkeypatch.setattr(frames, "WRITTEN_ROWS", 300)
    monkeypatch.setattr(frames, "READ_ROWS", 70)
    frame = frame.head(rows)
    if not rows:
        frame = frame.drop(columns="kind")  # without rows Parquet does not keep the values of a category
    stream = write(frame)
    found = frames.read_parquet(stream)
    pd.testing.assert_frame_equal(found, frame)
    assert found.attrs == frame.attrs
    pd.testing.assert_frame_equal(pd.read_parquet(stream), frame)


def test_what_pandas_wrote_is_read(frame):
    """Assets of a release before are still inputs."""
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False)
    pd.testing.assert_frame_equal(frames.read_parquet(stream), frame)


def test_a_stream_without_seek_is_read(frame):
    """As object stores return it."""

    class Response(io.BytesIO):
        def seekable(self) -> bool:
            return False

    pd.testing.assert_frame_equal(frames.read_parquet(Response(write(frame).getvalue())), frame)


def test_the_matrix_is_contiguous_by_row_and_writable(frame):
    """A model takes it as it is: a copy would be a gigabyte."""
    found = frames.read_parquet(write(frame))
    for name in list(found)[3:]:
        found.pop(name)
    matrix = found.to_numpy()
    assert matrix.flags.c_contiguous
    assert matrix.flags.writeable
    assert np.shares_memory(matrix, found["b"].to_numpy())
