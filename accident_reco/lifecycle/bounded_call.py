"""A function call that ends in time, whatever it waits for: in a process of its own, killed at the end of its budget.

Time-outs of a client restart with every byte that its peer drips, and differ for each library below it; a thread cannot
be ended at all.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OutOfTime(TimeoutError):
    """The call did not end within its budget."""


class CallFailed(RuntimeError):
    """The call raised an error of a library, or its process died; the message says which."""


def call_within(
    seconds: float, environ: Mapping[str, str], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """What `function` returns. It and its arguments must be picklable; `environ` are variables for it where
    this process has none of that name.

    Raises:
        OutOfTime: it was killed after `seconds`.
        CallFailed: what the function raised, as text; an error class of this package comes as itself.
    """
    if seconds <= 0:
        raise OutOfTime("no time is left")
    command = [sys.executable, "-W", "ignore", "-m", __name__]
    job = pickle.dumps((seconds, sys.path, function.__module__, function.__qualname__, pickle.dumps((args, kwargs))))
    try:
        done = subprocess.run(
            command, input=job, stdout=subprocess.PIPE, env={**environ, **os.environ}, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise OutOfTime(f"not finished after {seconds:.3g} s") from None
    if done.returncode:
        raise CallFailed(f"the process of {function.__qualname__} ended with exit code {done.returncode}")
    returned, outcome = pickle.loads(done.stdout)  # noqa: S301 - written by our own process
    if not returned:
        raise outcome
    result: T = outcome
    return result


def _main() -> None:
    import importlib

    # Libraries print to stdout; it belongs to the result.
    result, outcome = os.dup(1), None
    os.dup2(2, 1)
    seconds, paths, module, name, packed = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our own process
    # Ends this process where the caller was killed and cannot.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    sys.path[:] = paths
    try:
        function = getattr(importlib.import_module(module), name)
        args, kwargs = pickle.loads(packed)  # noqa: S301
        outcome = (True, function(*args, **kwargs))
    except Exception as error:
        ours = type(error).__module__.partition(".")[0] == "accident_reco"
        outcome = (False, error if ours else CallFailed(f"{type(error).__name__}: {error}"))
    with os.fdopen(result, "wb") as stream:
        # Called by its module's name: the classes of `__main__` would not be found by the parent.
        stream.write(pickle.dumps(outcome))
    # Threads of a client that still wait must not keep the result waiting.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    from accident_reco.lifecycle import bounded_call

    bounded_call._main()
