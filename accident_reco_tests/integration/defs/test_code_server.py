"""The code server: what a tick of a sensor does not repeat."""

import subprocess
import sys
import textwrap
from pathlib import Path

SCRIPT = textwrap.dedent("""
    import sys
    import dagster as dg
    from alembic.script.base import ScriptDirectory
    from accident_reco.defs.code_server import read_migrations_once

    if sys.argv[2] == "once":
        read_migrations_once()
    load, loads = ScriptDirectory._load_revisions, []
    ScriptDirectory._load_revisions = lambda self: loads.append(self) or load(self)
    for _ in range(3):
        with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
            assert instance.get_runs_count() == 0
        print(len(loads))
""")


def test_migration_scripts_are_read_once(tmp_path: Path) -> None:
    """An instance that is opened again reads no script; Dagster alone reads them at each opening."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")

    def count(how: str) -> list[int]:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), how]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return [int(line) for line in done.stdout.split()]

    alone = count("always")
    assert alone[2] > alone[1] > 0
    first, *later = count("once")
    assert first > 0
    assert set(later) == {first}
