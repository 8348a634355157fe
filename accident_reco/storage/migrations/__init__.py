"""Alembic migrations of the warehouse, applied by `Warehouse.upgrade`, drafted by this package's `__main__`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration on an open connection, instead of an alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config
