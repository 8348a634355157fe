"""Tables of the warehouse, a module per area, on one metadata. Definitions only: queries are in `storage`."""

from __future__ import annotations

import importlib
import pkgutil

from sqlalchemy import MetaData

from accident_reco.settings import plugins

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def all_tables() -> MetaData:
    """The metadata with every area's tables on it, those of the installed models included."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    for name in plugins.installed_names():
        plugins.load_model(name).tables()
    return metadata
