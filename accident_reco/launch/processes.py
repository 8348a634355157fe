"""Child processes: each in its own group, logged to a file, awaited until ready, always stopped."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accident_reco.launch.log_rotation import rotate
from accident_reco.launch.private_files import PRIVATE_UMASK
from accident_reco.launch.signals import restore_default_signals

LOOPBACK = "127.0.0.1"
STOP_SECONDS = 8.0
TAIL_BYTES = 64 << 10
PR_SET_PDEATHSIG = 1


class LaunchError(RuntimeError):
    """The platform cannot start or continue; the message is shown without a traceback."""


@dataclass
class Child:
    """One process of the platform; `start` starts it once more, with the same command."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: int
    start: Callable[[], subprocess.Popen[bytes]]
    is_gone: bool = False
    """Whether its process group has been ended: the number may be another one's by now."""

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return "\n".join(map(_as_text, log.read().decode(errors="replace").splitlines()[-lines:]))

    def signal(self, number: int) -> None:
        """Signal its process group."""
        if not self.is_gone:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # the whole group has ended
                os.killpg(self.process.pid, number)

    def end_group(self) -> None:
        """Kill what is left of it and of the processes that it started: a run in progress, a server's workers."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.is_gone = True

    def restart(self) -> None:
        """Start it once more. Raises OSError where its program is gone."""
        self.process = self.start()
        self.is_gone = False


def _as_text(line: str) -> str:
    """The event of a JSON line, with its stack trace; any other line as it is."""
    if not line.startswith("{"):
        return line
    try:
        event = json.loads(line)
        return "\n".join(str(event[name]) for name in ("event", "exception") if name in event) or line
    except ValueError:
        return line


@dataclass
class Children:
    """Started processes, in order; `stop` ends all of them."""

    environ: Mapping[str, str]
    logs: Path
    started: list[Child] = field(default_factory=list)

    def start(
        self,
        name: str,
        command: Sequence[str],
        echo: bool = False,
        environ: Mapping[str, str] | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> Child:
        """Start a process. It appends its stderr to a log file, and its stdout too, unless `echo` passes it to the
        terminal.

        Args:
            environ: variables of this process alone, in addition to those that all share.
            stop_signal: signal for an orderly stop of this program.
        """
        log = self.logs / f"{name}.log"
        variables = {**self.environ, **(environ or {})}

        def start() -> subprocess.Popen[bytes]:
            rotate(log)
            with log.open("ab") as output:  # what an earlier process of this name wrote last is kept
                return subprocess.Popen(
                    list(command),
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=None if echo else output,
                    stderr=output,
                    start_new_session=True,  # Ctrl-C reaches the launcher alone, which stops the others in order
                    preexec_fn=_prepare_child,  # no threads run in the launcher
                )

        child = Child(name, start(), log, stop_signal, start)
        self.started.append(child)
        return child

    def wait(self, child: Child, others: Sequence[Child] = ()) -> int:
        """Wait for the end of a child, and bound the logs of all meanwhile; returns its exit code.

        Raises:
            LaunchError: one of `others`, which it needs, has ended before it.
        """
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.process.wait(1.0)
            self.check(others)
            self.rotate_logs()

    def rotate_logs(self) -> None:
        """Rotate the logs that are full."""
        for child in self.started:
            rotate(child.log)

    def check(self, children: Sequence[Child] | None = None) -> None:
        """Raises LaunchError when one of `children` (by default any) has ended on its own."""
        for child in self.started if children is None else children:
            code = child.process.poll()
            if code is not None:
                raise LaunchError(f"{child.name} ended with exit code {code}; the end of {child.log}:\n{child.tail()}")

    def await_ready(self, probes: Mapping[str, str | Callable[[], bool]], seconds: float) -> None:
        """Wait until each URL returns 200 and each function returns True.

        Raises:
            LaunchError: a child ended, or a probe does not succeed in time.
        """
        deadline = time.monotonic() + seconds
        waiting = dict(probes)
        while waiting:
            self.check()
            waiting = {name: probe for name, probe in waiting.items() if not _ready(probe)}
            if waiting and time.monotonic() > deadline:
                raise LaunchError(f"not ready after {seconds:.0f} s: {', '.join(waiting)}; see {self.logs}")
            if waiting:
                time.sleep(0.1)

    def kill(self, name: str) -> None:
        """Kill the newest child of a name, as an outage would."""
        self._end(name, 0.0)

    def end(self, name: str, seconds: float = STOP_SECONDS) -> None:
        """Stop the newest child of a name; kill it after `seconds`."""
        self._end(name, seconds)

    def _end(self, name: str, seconds: float) -> None:
        child = next(child for child in reversed(self.started) if child.name == name)
        if seconds:
            child.signal(child.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(seconds)
        child.end_group()
        self.started.remove(child)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop every process group, newest first; kill those that remain after `seconds`."""
        for child in reversed(self.started):
            child.signal(child.stop_signal)
        deadline = time.monotonic() + seconds
        for child in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
            child.end_group()
        self.started.clear()


def answers(url: str) -> bool:
    """Whether an HTTP GET returns 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # our own loopback URLs
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _ready(probe: str | Callable[[], bool]) -> bool:
    return answers(probe) if isinstance(probe, str) else probe()


def require_free_ports(host: str, ports: Mapping[str, int]) -> None:
    """Check that ports are free and distinct.

    Args:
        ports: variable → port.

    Raises:
        LaunchError: names every port in use and its variable.
    """
    problems = []
    for variable, port in ports.items():
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                problems.append(f"port {port} on {host}: {error.strerror}; fix: set {variable} to a free one")
    twice = {port for port in ports.values() if list(ports.values()).count(port) > 1}
    problems += [f"port {port} is set for two services" for port in sorted(twice)]
    if problems:
        raise LaunchError("\n".join(problems))


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _prepare_child() -> None:
    """Handle signals by default, create private files, and end with the parent, even if that is killed (Linux)."""
    restore_default_signals()
    os.umask(PRIVATE_UMASK)
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    except (OSError, AttributeError):
        return  # not Linux: only an orderly stop ends the child
