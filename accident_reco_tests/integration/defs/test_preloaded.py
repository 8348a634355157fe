"""What the process whose forks are runs and steps has built before them."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = textwrap.dedent("""
    import threading

    import psutil

    import accident_reco.defs.preloaded
    from accident_reco.definitions import defs

    process = psutil.Process()
    files = [file.path for file in process.open_files() if file.path.endswith((".db", ".db-wal"))]
    print(threading.active_count(), files + process.net_connections())
    print(defs() is defs(), defs().resolve_job_def("train_movies").name)
""")


@pytest.mark.parametrize(
    ("models", "shown"), [("movies", "1 []\nTrue train_movies\n"), ("no such model", "ACCIDENT_RECO_MODELS")]
)
def test_definitions_are_built_once_and_open_nothing(monkeypatch: pytest.MonkeyPatch, models: str, shown: str) -> None:
    """Forks share them: no connection, no thread. A wrong setting is the run's error, not the end of the server."""
    monkeypatch.setenv("ACCIDENT_RECO_MODELS", models)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100, check=False)
    if models == "movies":
        assert done.stdout == shown, done.stderr
    else:
        assert done.stdout.startswith("1 []\n"), done.stderr  # the import itself succeeded
        assert shown in done.stderr
