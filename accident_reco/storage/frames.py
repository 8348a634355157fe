"""Frames as Parquet, written and read in blocks of rows: beside the frame itself one block is in memory.

pandas' own functions hold a frame twice, once as an Arrow table. Where the objects are is decided elsewhere.
"""

from __future__ import annotations

import io
import json
from itertools import groupby
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.parquet as pq

WRITTEN_ROWS: Final = 131_072
"""Rows of a row group."""
READ_ROWS: Final = 8_192
"""Rows that are copied at once: a block of a hundred columns stays in the processor's cache."""
_ATTRIBUTES: Final = b"PANDAS_ATTRS"
_MATRIX, _PLAIN, _OTHER = "matrix", "plain", "other"


def write_parquet(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    """Write a frame without its index and with its attributes, as `pandas.DataFrame.to_parquet` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.Schema.from_pandas(frame, preserve_index=False)
    if frame.attrs:
        schema = schema.with_metadata({**schema.metadata, _ATTRIBUTES: json.dumps(frame.attrs).encode()})
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for start in range(0, max(len(frame), 1), WRITTEN_ROWS):
            block = frame.iloc[start : start + WRITTEN_ROWS]
            writer.write_table(pa.Table.from_pandas(block, schema=schema, preserve_index=False))


def read_parquet(stream: IO[bytes]) -> pd.DataFrame:
    """The frame that `write_parquet` or pandas wrote.

    Neighbouring float32 columns are one matrix whose rows are contiguous, as libraries of models take them: `to_numpy`
    of a frame of only these copies nothing.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream if stream.seekable() else io.BytesIO(stream.read()), pre_buffer=False)
    rows, kinds = file.metadata.num_rows, _classify_columns(file)
    arrays: dict[str, NDArray[Any]] = {}
    parts = []
    for kind, group in groupby(kinds, lambda name: kinds[name][0]):
        names = list(group)
        if kind == _MATRIX:
            matrix = np.empty((rows, len(names)), dtype=np.float32)
            arrays |= dict(zip(names, matrix.T, strict=True))
            parts.append(pd.DataFrame(matrix, columns=names, copy=False))
        elif kind == _PLAIN:
            own = {name: np.empty(rows, dtype=kinds[name][1]) for name in names}
            arrays |= own
            parts.append(pd.DataFrame(own, copy=False))
        else:
            parts.append(file.read(names, use_threads=False).to_pandas())
    _fill(file, arrays)
    # The stubs are of pandas 3, which never copies here.
    frame = pd.concat(parts, axis=1, copy=False) if parts else file.read().to_pandas()  # type: ignore[call-overload]
    frame.attrs = json.loads((file.schema_arrow.metadata or {}).get(_ATTRIBUTES, b"{}"))
    return frame


def _classify_columns(file: pq.ParquetFile) -> dict[str, tuple[str, str]]:
    """Column → how it is read, and its dtype; numbers that may be missing are only plain where they are reals."""
    described = (file.schema_arrow.pandas_metadata or {}).get("columns", [])
    dtypes = {column["field_name"]: column["numpy_type"] for column in described}
    kinds = {}
    for field in file.schema_arrow:
        dtype = dtypes.get(field.name, "")
        plain = dtype == {"float": "float32", "double": "float64"}.get(str(field.type), str(field.type))
        plain = plain and np.dtype(dtype).kind in "iufb"
        kinds[field.name] = (_MATRIX if plain and dtype == "float32" else _PLAIN if plain else _OTHER, dtype)
    return kinds


def _fill(file: pq.ParquetFile, arrays: dict[str, NDArray[Any]]) -> None:
    start = 0
    for batch in file.iter_batches(READ_ROWS, columns=list(arrays), use_threads=False) if arrays else ():
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            arrays[name][start : start + len(column)] = column.to_numpy(zero_copy_only=False)
        start += batch.num_rows
