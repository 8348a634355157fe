"""Raw blocks of a Parquet file: typed cells as the text that the readers of CSV take, in blocks of rows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any, Final

import numpy as np

from accident_reco.models.accidents.scoring.files.limits import FileLimits, UnscorableFile, refuse_rows, refuse_unpacked
from accident_reco.models.accidents.scoring.files.raw_blocks import BLOCK_LINES, RawBlock, check_header, to_input_name

_MAX_COLUMNS: Final = 1000
_FIRST_LINE: Final = 2
_UNENCODED: Final = frozenset({"Num_Acc", "id_usager", "id_vehicule", "lat", "long", "adr"})


def read_parquet_blocks(file: IO[bytes], limits: FileLimits) -> Iterator[RawBlock]:
    """Blocks of a Parquet file with one road user per row; rows are numbered as the lines of a CSV with a header.

    Raises:
        UnscorableFile: it is damaged or encrypted, has no BAAC column or nested ones, or is too large.
    """
    import pyarrow as pa

    try:
        parquet = _open(file, limits)
        names = {name: to_input_name(name) for name in parquet.schema_arrow.names}
        check_header(list(names.values()))
        chosen = [name for name, official in names.items() if official is not None]
        line = _FIRST_LINE
        for batch in parquet.iter_batches(BLOCK_LINES, columns=chosen, use_threads=False):
            columns = {str(names[name]): _to_text(batch.column(name), name) for name in chosen}
            numbers = np.arange(line, line + batch.num_rows, dtype=np.int64)
            line += batch.num_rows
            if line - _FIRST_LINE > limits.rows:
                raise refuse_rows(limits.rows)
            yield RawBlock(numbers, columns)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(error) from None


def to_csv(data: bytes, limits: FileLimits) -> bytes:
    """A published table that was saved as Parquet, as CSV.

    Raises:
        UnscorableFile: as `read_parquet_blocks`.
    """
    import pyarrow as pa
    import pyarrow.csv as pacsv

    try:
        parquet = _open(io.BytesIO(data), limits)
        out = io.BytesIO()
        names = parquet.schema_arrow.names
        schema = pa.schema([(name, pa.string()) for name in names])
        with pacsv.CSVWriter(out, schema, write_options=pacsv.WriteOptions(delimiter=";")) as writer:
            for batch in parquet.iter_batches(BLOCK_LINES, use_threads=False):
                texts = [_decode(_to_text(batch.column(name), name)) for name in names]
                writer.write_batch(pa.record_batch(texts, schema=schema))
                if out.tell() > limits.published_bytes:
                    raise refuse_unpacked(limits.published_bytes)
        return out.getvalue()
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(error) from None


def _open(file: IO[bytes], limits: FileLimits) -> Any:
    import pyarrow.parquet as pq

    # Bounds what the metadata may make the reader allocate.
    parquet = pq.ParquetFile(
        file, thrift_string_size_limit=10 * 1024**2, thrift_container_size_limit=200_000, pre_buffer=False
    )
    metadata = parquet.metadata
    if metadata.num_rows > limits.rows:
        raise refuse_rows(limits.rows)
    if metadata.num_columns > _MAX_COLUMNS:
        raise UnscorableFile(f"The file has more than {_MAX_COLUMNS} columns.", "bad-header")
    groups = (metadata.row_group(n) for n in range(metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > limits.unpacked_bytes:
        raise refuse_unpacked(limits.unpacked_bytes)
    return parquet


def _unreadable(error: Exception) -> UnscorableFile:
    return UnscorableFile(f"The Parquet file cannot be read: {str(error)[:200]}", "damaged-file")


def _decode(column: Any) -> Any:
    import pyarrow as pa

    return column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column


def _to_text(column: Any, name: str) -> Any:
    """Text of a column, dictionary-encoded but for the accident number; null is blank."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _decode(column)
    kind = column.type
    if pa.types.is_nested(kind):
        raise UnscorableFile(f"The column {name} is nested; columns are numbers or text.", "bad-header")
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    try:
        text = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UnscorableFile(
            f"The column {name} is of type {kind}; columns are numbers or text.", "bad-header"
        ) from None
    text = pc.fill_null(text, "")
    return text if to_input_name(name) in _UNENCODED else text.dictionary_encode()
