"""From which process the steps of a run are forked."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = textwrap.dedent("""
    import json
    import multiprocessing
    import os
    import signal
    import sys

    from accident_reco.defs.shared_forkserver import share_forkserver

    context = multiprocessing.get_context("forkserver")


    def step(parents):
        parents.put(os.getppid())


    def run(how, found):
        server, parents = os.getppid(), context.Queue()
        if how != "own":
            share_forkserver()
            share_forkserver()  # once is enough
        for attempt in range(2):
            child = context.Process(target=step, args=(parents,))
            child.start()
            found.put(parents.get() == server)
            child.join()
            assert child.exitcode == 0
            if how == "killed":
                os.kill(server, signal.SIGKILL)
                while os.getppid() == server:
                    pass


    if __name__ == "__main__":
        share_forkserver()  # changes nothing here
        context.set_forkserver_preload(["accident_reco.defs.shared_forkserver"])
        found = context.Queue()
        started = context.Process(target=run, args=(sys.argv[1], found))
        started.start()
        print(json.dumps([found.get(timeout=60) for _ in range(2)]))
""")


@pytest.mark.parametrize(
    ("how", "from_the_server"), [("own", [False, False]), ("shared", [True, True]), ("killed", [True, False])]
)
def test_steps_of_a_forked_run_are_forks_of_the_same_server(
    tmp_path: Path, how: str, from_the_server: list[bool]
) -> None:
    """Python alone starts a server per run; where the shared one was killed, the run starts its own."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(program), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert json.loads(done.stdout or "null") == from_the_server, done.stderr
