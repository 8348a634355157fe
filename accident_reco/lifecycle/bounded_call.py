"""A function call with a time limit: in a process of its own, which is killed at the limit.

Timeouts of clients restart with every received byte, and differ between libraries; a thread cannot be killed.
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
    """The call did not end within its time limit."""


class CallFailed(RuntimeError):
    """The call raised an error of a library, or its process died; the message has the cause."""


def call_within(
    seconds: float, environ: Mapping[str, str], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call `function` in another process and return its result; arguments and result must be picklable.

    Args:
        environ: environment variables for the call, where this process does not set them.

    Raises:
        OutOfTime: the call was killed after `seconds`.
        CallFailed: the error of the function as text; errors of this package are raised as they are.
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

    # Libraries print to stdout, which is for the result.
    result, outcome = os.dup(1), None
    os.dup2(2, 1)
    seconds, paths, module, name, packed = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our own process
    # Ends this process where the caller was killed before it could.
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
        # Through the module's name: the parent cannot unpickle classes of `__main__`.
        stream.write(pickle.dumps(outcome))
    # Does not wait for threads of a client.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    from accident_reco.lifecycle import bounded_call

    bounded_call._main()
