"""A small engine that runs services of compose without images, in Linux namespaces: each with its own files (read-only
but for volumes and tmpfs), processes and host name, with the user and the capabilities of compose, all on one isolated
network.

The contents of images are in `images`; everything else is read from the compose file.
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import yaml

from accident_reco.launch.processes import Child, Children, LaunchError
from accident_reco.launch.programs import debian
from accident_reco_tests.support.images import SYSTEM_PATH, VENV, Image, images
from accident_reco_tests.support.running import ROOT

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
NAMESPACES = ("--mount", "--pid", "--ipc", "--uts")
# A network with loopback only, until the input is closed.
NETWORK = """
import fcntl, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    request = struct.pack("16sH14x", b"lo", 0x1 | 0x40)
    fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS: up, running
print("up", flush=True)
sys.stdin.read()
"""


def interpolate(document: Any, environ: Mapping[str, str]) -> Any:
    """A document with `${NAME:-default}`, `${NAME}` and `$$` replaced as by compose."""
    if isinstance(document, dict):
        return {key: interpolate(value, environ) for key, value in document.items()}
    if isinstance(document, list):
        return [interpolate(value, environ) for value in document]
    if not isinstance(document, str):
        return document

    def put(found: re.Match[str]) -> str:
        name, default = found.groups()
        return "$" if name is None else environ.get(name) or (default or "")

    return re.sub(r"\$(?:\$|\{(\w+)(?::-([^}]*))?\})", put, document)


class Engine:
    """Services of a compose file on this machine."""

    def __init__(self, compose: Path, folder: Path, environ: Mapping[str, str], built: Mapping[str, Path]) -> None:
        """Read the file; start nothing.

        Args:
            folder: for volumes and logs; every user can enter it.
            environ: values of the file's variables.
            built: folders that our Dockerfile's build stages create, see `our_image`; the environment is this one.
        """
        self.compose, self.folder = compose, folder
        document = interpolate(yaml.safe_load(compose.read_text()), environ)
        self.services: dict[str, Any] = document["services"]
        self.secrets = {name: compose.parent / secret["file"] for name, secret in document["secrets"].items()}
        self.addresses = {name: f"127.0.1.{place}" for place, name in enumerate(self.services, 1)}
        self.images = images({"/opt/venv": VENV, **built})
        (folder / "logs").mkdir()
        self.children = Children(dict(os.environ), folder / "logs")
        self.running: dict[str, Child] = {}
        self._healthy: set[str] = set()
        command = [debian("unshare"), "--net", sys.executable, "-c", NETWORK]
        self._network = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._network.stdout
        assert self._network.stdout.readline() == b"up\n"

    def up(self, names: Sequence[str], seconds: float) -> None:
        """Start services in the order of `depends_on`, each once its dependencies are ready.

        Raises:
            LaunchError: one ended, or some could not be started in time.
        """
        deadline = time.monotonic() + seconds
        waiting = list(names)
        while waiting:
            ready = [name for name in waiting if self._may_start(name)]
            for name in ready:
                self.start(name)
                waiting.remove(name)
            self.check()
            if not ready:
                time.sleep(0.1)
            if time.monotonic() > deadline:
                raise LaunchError(f"not started after {seconds:.0f} s: {', '.join(waiting)}")

    def _may_start(self, name: str) -> bool:
        return all(self._met(other, on["condition"]) for other, on in self.services[name].get("depends_on", {}).items())

    def _met(self, name: str, condition: str) -> bool:
        if name not in self.running:
            return False
        return self.finished(name) if condition == "service_completed_successfully" else self.healthy(name)

    def start(self, name: str) -> Child:
        """Start a service's container without waiting."""
        command = [
            debian("nsenter"),
            f"--net=/proc/{self._network.pid}/ns/net",
            *(debian("unshare"), *NAMESPACES, "--fork", "--kill-child"),
            *("sh", "-euc", self._setup(name)),
        ]
        child = self.children.start(name, command, stop_signal=self._image(name).stop_signal)
        self.running[name] = child
        return child

    def execute(self, name: str, command: Sequence[str], seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container, as its user, with its variables."""
        entered = [
            *(debian("nsenter"), "--target", self._first_process(name), *NAMESPACES, "--net", "--root"),
            *self._as_container_user(name),
            *command,
        ]
        return subprocess.run(entered, capture_output=True, text=True, check=False, timeout=seconds)

    def _first_process(self, name: str) -> str:
        """Process id on this machine of a container's first process.

        Raises:
            ProcessLookupError: the container has none.
        """
        parent = self.running[name].process.pid
        first = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if not first:
            raise ProcessLookupError(f"{name} has no process")
        return first[0]

    def healthy(self, name: str) -> bool:
        """Whether a container has passed its health check once.

        Raises:
            LaunchError: a container has ended.
        """
        self.check()
        if name not in self._healthy:
            kind, *words = self.services[name].get("healthcheck", {}).get("test") or self._image(name).healthcheck
            try:
                done = self.execute(name, words if kind == "CMD" else ["/bin/sh", "-c", *words])
            except ProcessLookupError:
                return False  # just started
            self._healthy |= {name} if done.returncode == 0 else set()
        return name in self._healthy

    def check(self) -> None:
        """Raises LaunchError if a container has ended unexpectedly."""
        self.children.started = [child for child in self.children.started if not self.finished(child.name)]
        self.children.check()

    def finished(self, name: str) -> bool:
        """Whether a container that runs once has succeeded."""
        return self.services[name]["restart"] == "no" and self.running[name].process.poll() == 0

    def stop_gently(self) -> dict[str, float]:
        """Stop the first process of every container as compose does: dependants before their dependencies.

        Returns:
            Service → grace period, of those that did not end within it.
        """
        late = {}
        left = {child.name: child for child in self.children.started}
        signalled: dict[str, float] = {}
        while left:
            for name, child in list(left.items()):
                if child.process.poll() is not None:
                    left.pop(name)
                elif name in signalled:
                    grace = float(str(self.services[name].get("stop_grace_period", "10s")).removesuffix("s"))
                    if time.monotonic() - signalled[name] > grace:
                        late[name] = grace
                        left.pop(name)
                elif not any(name in self._needed_by(other) for other in left):
                    os.kill(int(self._first_process(name)), child.stop_signal)
                    signalled[name] = time.monotonic()
            time.sleep(0.02)
        return late

    def _needed_by(self, name: str) -> set[str]:
        """Direct and indirect dependencies of a service."""
        direct = set(self.services[name].get("depends_on", {}))
        return direct.union(*map(self._needed_by, direct))

    def inside(self, work: Callable[[], T]) -> T:
        """Call a function in a thread whose sockets are on the containers' network."""

        def enter() -> T:
            with Path(f"/proc/{self._network.pid}/ns/net").open() as network:
                assert ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET) == 0
            return work()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(enter).result()

    def stop(self) -> None:
        """Kill the remaining containers and remove the network."""
        self.children.stop(seconds=0.0)
        assert self._network.stdin
        assert self._network.stdout
        self._network.stdin.close()
        self._network.stdout.close()
        self._network.wait()

    def _image(self, name: str) -> Image:
        return self.images[self.services[name]["image"].rsplit(":", 1)[0]]

    def _as_container_user(self, name: str) -> list[str]:
        """Prefix of a command: user, capabilities, working directory and variables of the container."""
        service, image = self.services[name], self._image(name)
        user = self._identity(name, service.get("user", image.user))
        kept = [f"+{capability.lower()}" for capability in service.get("cap_add", [])]
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        environment = {"PATH": SYSTEM_PATH, "HOME": "/", "HOSTNAME": name, **image.environment}
        for file in service.get("env_file", []):
            lines = (self.compose.parent / file).read_text().splitlines()
            environment |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        environment |= {key: str(value) for key, value in service.get("environment", {}).items()}
        identity = [f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups"]
        rights = ["--inh-caps=-all", f"--bounding-set={','.join(['-all', *kept])}", "--no-new-privs"]
        variables = [f"{key}={value}" for key, value in environment.items()]
        return [debian("setpriv"), *identity, *rights, debian("env"), "-i", "-C", image.folder, *variables]

    def _identity(self, name: str, user: str) -> tuple[int, int]:
        """User and group by number, as compose's `user` states them: `name`, `uid` or `uid:gid`."""
        known = {"root": 0, **self._image(name).users}
        who, _, group = str(user).partition(":")
        uid = known[who] if who in known else int(who)
        return uid, int(group) if group else uid

    def _setup(self, name: str) -> str:
        """Shell: builds the container's file system and becomes its program."""
        service, image = self.services[name], self._image(name)
        base = self.folder / "containers" / name
        base.mkdir(parents=True)
        root = base / "root"
        command = [*image.entrypoint, *(service.get("command") or image.command)]
        lines = [
            "umask 022",  # an image's files are open to the users of its container
            f"hostname {name}",
            f"mount -t tmpfs tmpfs {base}",
            f"mkdir {base}/upper {base}/work {root}",
            f"mount -t overlay overlay -o lowerdir=/,upperdir={base}/upper,workdir={base}/work {root}",
            *(f"mount --bind {folder} {root}{folder}" for folder in ("/dev", "/sys")),
            f"mount -t tmpfs -o mode=1777 tmpfs {root}/dev/shm",
            f"mount -t proc proc {root}/proc",
            *(f"mkdir -p {root}{path} && mount -t tmpfs -o mode=1777 tmpfs {root}{path}" for path in service["tmpfs"]),
            # The checkout is not in an image; scripts of the environment name the place where it was made.
            f"mkdir -p {root}{ROOT} && mount -t tmpfs -o mode=755 tmpfs {root}{ROOT}",
            *self._bind(VENV, root, str(VENV)),
            *(f"chmod a+x {root}{folder}" for place in (VENV, Path(sys.base_prefix)) for folder in place.parents[:-1]),
            *(f"printf %s {shlex.quote(text)} >{root}/etc/{file}" for file, text in self._accounts(name).items()),
            f"printf %s {shlex.quote(self._hosts())} >{root}/etc/hosts",
        ]
        for target, source in image.copies.items():
            lines += self._bind(source, root, target)
        for secret in service.get("secrets", []):
            lines += self._bind(self.secrets[secret], root, f"/run/secrets/{secret}")
        for volume in service.get("volumes", []):
            source, target, *options = volume.split(":")
            lines += self._bind(self._volume(name, source, target), root, target, writable="ro" not in options)
        if service.get("read_only"):
            lines.append(f"mount -o remount,ro {root}")
        lines.append(shlex.join(["exec", "chroot", str(root), *self._as_container_user(name), *command]))
        return "\n".join(lines)

    @staticmethod
    def _bind(source: Path, root: Path, target: str, writable: bool = False) -> list[str]:
        at = shlex.quote(f"{root}{target}")
        made = f"mkdir -p {at}" if source.is_dir() else f"mkdir -p $(dirname {at}) && touch {at}"
        bound = [made, f"mount --bind {shlex.quote(str(source))} {at}"]
        return bound if writable else [*bound, f"mount -o remount,bind,ro {at}"]

    def _volume(self, name: str, source: str, target: str) -> Path:
        """A folder beside the compose file, of the machine, or a named volume, which begins as the image's folder."""
        if source.startswith((".", "/")):
            return (self.compose.parent / source).resolve()
        folder = self.folder / "volumes" / source
        if not folder.exists():
            folder.mkdir(parents=True)
            os.chown(folder, *self._identity(name, self._image(name).owns.get(target, "root")))
        return folder

    def _accounts(self, name: str) -> dict[str, str]:
        image = self._image(name)
        known = {"root": 0, **image.users}
        home = image.environment.get("HOME", "/")
        return {
            "passwd": "".join(f"{user}:x:{number}:{number}::{home}:/bin/sh\n" for user, number in known.items()),
            "group": "".join(f"{user}:x:{number}:\n" for user, number in known.items()),
        }

    def _hosts(self) -> str:
        """Every service by its name, at an address that a server for loopback alone does not answer on."""
        return "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in self.addresses.items())


def missing() -> str:
    """Why this machine cannot hold containers so; empty where it can."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return "containers without an engine need Linux, root and util-linux"
    done = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else f"no namespaces here: {done.stderr.decode().strip()}"
