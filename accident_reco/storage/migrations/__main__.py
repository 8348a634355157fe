"""Drafts the next revision: `python -m accident_reco.storage.migrations 0010_area "What it adds"`.

Compares the tables in code with an empty database at the current head; read and edit the draft before committing it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from alembic import command

from accident_reco.storage.migrations import alembic_config
from accident_reco.storage.warehouse import Warehouse

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m accident_reco.storage.migrations", description=__doc__)
    parser.add_argument("revision", help="revision id, such as 0010_area")
    parser.add_argument("message", help="what the revision adds, in words")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(f"sqlite:///{Path(folder) / 'draft.db'}")
        warehouse.upgrade()
        with warehouse.begin() as connection:
            config = alembic_config(connection)
            config.set_main_option("file_template", "%%(rev)s")
            command.revision(config, arguments.message, autogenerate=True, rev_id=arguments.revision)
