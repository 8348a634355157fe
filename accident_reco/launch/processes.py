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

from accident_reco.launch.signals import restore_default_signals

LOOPBACK = "127.0.0.1"
STOP_SECONDS = 8.0
PR_SET_PDEATHSIG = 1


class LaunchError(RuntimeError):
    """The platform cannot start or continue; the message is shown without a traceback."""


@dataclass
class Child:
    """One process of the platform."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: int = signal.SIGTERM

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(map(_as_text, self.log.read_text(errors="replace").splitlines()[-lines:]))


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
        """Start a process. Its stderr goes to a log file, and its stdout too, unless `echo` passes it to the terminal.

        Args:
            environ: variables of this process alone, in addition to those that all share.
            stop_signal: signal for an orderly stop of this program.
        """
        log = self.logs / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(command),
                env={**self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=None if echo else output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches the launcher alone, which stops the others in order
                preexec_fn=_prepare_child,  # no threads run yet in the launcher
            )
        child = Child(name, process, log, stop_signal)
        self.started.append(child)
        return child

    def check(self) -> None:
        """Raises LaunchError when a child has ended on its own."""
        for child in self.started:
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
            _signal_group(child, child.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(seconds)
        _signal_group(child, signal.SIGKILL)  # its own children too
        child.process.wait()
        self.started.remove(child)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop every process group, newest first; kill those that remain after `seconds`."""
        for child in reversed(self.started):
            _signal_group(child, child.stop_signal)
        deadline = time.monotonic() + seconds
        for child in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
            _signal_group(child, signal.SIGKILL)  # grandchildren too: a run in progress
            child.process.wait()
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


def _signal_group(child: Child, number: int) -> None:
    try:
        os.killpg(child.process.pid, number)
    except (ProcessLookupError, PermissionError):
        return  # the whole group has ended


def _prepare_child() -> None:
    """Handle signals by default, and end with the parent, even if that is killed (Linux)."""
    restore_default_signals()
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    except (OSError, AttributeError):
        return  # not Linux: only an orderly stop ends the child
