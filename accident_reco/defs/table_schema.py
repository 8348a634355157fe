"""Columns of frames and SQL tables as Dagster shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    return {f"{table.name}_columns": dg.MetadataValue.table_schema(table_schema(table)) for table in tables}


def build_lineage(columns: Mapping[str, Iterable[tuple[dg.AssetKey, str]]]) -> dict[str, Any]:
    """Metadata with column → (asset, column) that it comes from; columns that come from none are left out."""
    deps = {
        name: [dg.TableColumnDep(asset_key=asset, column_name=column) for asset, column in sources]
        for name, sources in columns.items()
    }
    found = dg.TableColumnLineage({name: sources for name, sources in deps.items() if sources})
    return {"dagster/column_lineage": found}


def table_schema(table: Table) -> dg.TableSchema:
    """Names, types, constraints and comments of a table's columns."""
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
