"""Random ids: as many as requested, never the same twice, whoever takes them."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from serving.common.ids import random_hex


def test_no_id_is_given_twice() -> None:
    """Also to threads that take them at the same time, across refills of the pool."""
    with ThreadPoolExecutor(4) as threads:
        taken = [one for part in threads.map(lambda _: [random_hex() for _ in range(2_000)], range(4)) for one in part]
    assert len(set(taken)) == len(taken) == 8_000
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in taken)


def test_a_forked_process_draws_its_own() -> None:
    """The pool of the parent would give both the same ids."""
    program = (
        "import os; from serving.common.ids import random_hex; random_hex(); child = os.fork();"
        "os.write(1, f'{random_hex()} '.encode()); child and os.waitpid(child, 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert len(set(done.stdout.split())) == 2
