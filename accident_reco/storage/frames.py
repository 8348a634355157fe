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

    The longest run of neighbouring float32 columns is one matrix whose rows are contiguous, as libraries of models take
    it: `to_numpy` of a frame of only these columns copies nothing.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream if stream.seekable() else io.BytesIO(stream.read()), pre_buffer=False)
    rows, dtypes = file.metadata.num_rows, _find_dtypes(file)
    runs = [list(names) for real, names in groupby(dtypes, lambda name: dtypes[name] == "float32") if real]
    run = max(runs, key=len, default=[])
    matrix = np.empty((rows, len(run)), dtype=np.float32)
    numbers: dict[str, NDArray[Any]] = {
        name: np.empty(rows, dtype) for name, dtype in dtypes.items() if dtype and name not in run
    }
    _fill(file, {**numbers, **dict(zip(run, matrix.T, strict=True))})
    others = [name for name, dtype in dtypes.items() if not dtype]
    columns = {**numbers, **(file.read(others, use_threads=False).to_pandas() if others else {})}
    if run:
        frame = pd.DataFrame(matrix, columns=run, copy=False)
        for position, name in enumerate(dtypes):
            if name not in run:
                frame.insert(position, name, columns[name])  # joining frames would copy the matrix
    else:
        frame = pd.DataFrame({name: columns[name] for name in dtypes}, copy=False)
    frame.attrs = json.loads((file.schema_arrow.metadata or {}).get(_ATTRIBUTES, b"{}"))
    return frame


def _find_dtypes(file: pq.ParquetFile) -> dict[str, str]:
    """Column → dtype of plain numbers and truth values, which a block copies; "" for any other column."""
    described = (file.schema_arrow.pandas_metadata or {}).get("columns", [])
    written = {column["field_name"]: column["numpy_type"] for column in described}
    found = {}
    for field in file.schema_arrow:
        dtype = {"float": "float32", "double": "float64"}.get(str(field.type), str(field.type))
        plain = dtype == written.get(field.name) and np.dtype(dtype).kind in "iufb"
        found[field.name] = dtype if plain else ""
    return found


def _fill(file: pq.ParquetFile, arrays: dict[str, NDArray[Any]]) -> None:
    start = 0
    for batch in file.iter_batches(READ_ROWS, columns=list(arrays), use_threads=False) if arrays else ():
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            arrays[name][start : start + len(column)] = column.to_numpy(zero_copy_only=False)
        start += batch.num_rows
