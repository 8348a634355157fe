"""Columns of frames and SQL tables as Dagster shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg
import pandas as pd
from sqlalchemy import Table


def frame_schema(frame: pd.DataFrame) -> dg.TableSchema:
    """Names and types of a frame's columns."""
    types = frame.dtypes.items()
    return dg.TableSchema([dg.TableColumn(str(name), str(kind)) for name, kind in types])


def table_schemas(tables: Iterable[Table]) -> dict[str, Any]:
    """`<table>_columns` → names, types, constraints and comments of each table's columns."""
    return {f"{table.name}_columns": dg.MetadataValue.table_schema(_table_schema(table)) for table in tables}


def _table_schema(table: Table) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                str(column.type),
                column.comment,
                dg.TableColumnConstraints(
                    nullable=bool(column.nullable),
                    unique=column.primary_key and len(table.primary_key.columns) == 1,
                ),
            )
            for column in table.columns
        ]
    )
