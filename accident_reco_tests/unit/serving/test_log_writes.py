"""Lines of one turn of an event loop are written together; none is lost or changes its place."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import threading

from serving.common.logs import Lines


class File(io.BytesIO):
    """Counts its writes."""

    writes = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.writes += 1
        return super().write(data)


def test_one_write_for_a_turn() -> None:
    """Many requests end in one turn of the loop."""
    file = File()
    lines = Lines(file)

    async def run() -> None:
        for turn in range(3):
            for number in range(4):
                lines.info(b"%d.%d" % (turn, number))
            await asyncio.sleep(0)

    asyncio.run(run())
    assert file.getvalue().split() == [b"%d.%d" % (turn, number) for turn in range(3) for number in range(4)]
    assert file.writes == 3


def test_lines_of_threads_are_written_at_once() -> None:
    """After those that wait."""
    file = File()
    lines = Lines(file)

    async def run() -> None:
        lines.info(b"first")
        thread = threading.Thread(target=lines.error, args=[b"second"])
        thread.start()
        thread.join()
        assert file.getvalue() == b"first\nsecond\n"

    asyncio.run(run())
    assert file.getvalue() == b"first\nsecond\n"


def test_lines_after_the_end_of_a_loop() -> None:
    """A loop may end before it comes to writing."""
    file = File()
    lines = Lines(file)

    async def run(line: bytes, *, is_last: bool = False) -> None:
        lines.info(line)
        if is_last:
            asyncio.get_running_loop().stop()

    loop = asyncio.new_event_loop()
    task = loop.create_task(run(b"first", is_last=True))
    loop.run_forever()
    loop.close()
    assert task.done()
    assert file.getvalue() == b""
    asyncio.run(run(b"second"))
    assert file.getvalue() == b"first\nsecond\n"


def test_lines_of_a_program_that_ends() -> None:
    """In the middle of a turn."""
    program = """
import asyncio
from serving.common import logs
logs.configure("predict", "info")
async def run():
    logs.get("x").info("last words")
    raise SystemExit(3)
asyncio.run(run())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == 3
    (line,) = ended.stdout.splitlines()
    assert json.loads(line).items() >= {"event": "last words", "service": "predict", "part": "x"}.items()


def test_lines_of_every_thread_name_the_service() -> None:
    """Also of threads that began before, or know nothing of who configured the logs."""
    program = """
import threading
from serving.common import logs
logs.configure("predict", "info")
thread = threading.Thread(target=lambda: logs.get("x").warning("from a thread"))
thread.start()
thread.join()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    (line,) = ended.stdout.splitlines()
    assert json.loads(line).items() >= {"event": "from a thread", "service": "predict", "level": "warning"}.items()
