"""Contents of the images, from this machine: the environment and files of our Dockerfile; other images' programs from
a wheel or a Debian package. Entry points, users and data folders of other images are those of their Dockerfiles."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from accident_reco.launch.programs import debian, postgres_program, script
from accident_reco.launch.stack_config import DEPLOY
from accident_reco_tests.support.running import ROOT

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
VENV = Path(sys.prefix)
# As docker-entrypoint.sh of the official image: give data and socket folders to their owner; then, as that owner,
# create a first database with the password, allow logins by password from everywhere, start the server.
POSTGRES = """
set -eu
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 00700 "$PGDATA"
  find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres {} +
  exec setpriv --reuid=postgres --regid=postgres --init-groups sh -c "$0" "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
fi
exec postgres -c 'listen_addresses=*' "$@"
"""


@dataclass(frozen=True)
class Image:
    """Configuration of an image, with the programs of this machine instead of its own."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = "root"
    users: Mapping[str, int] = field(default_factory=dict)
    owns: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    healthcheck: tuple[str, ...] = ()
    folder: str = "/"
    copies: Mapping[str, Path] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM


def images(built: Mapping[str, Path]) -> dict[str, Image]:
    """Repository → image.

    Raises:
        LaunchError: a program is not installed.
    """
    unprivileged: dict[str, Any] = {"user": "nobody", "users": {"nobody": 65534}}
    programs = str(Path(postgres_program("postgres")).parent)
    return {
        "accident-reco/platform": our_image("platform", built),
        "accident-reco/serving": our_image("serving", built),
        "postgres": Image(
            ("sh", "-c", POSTGRES, POSTGRES),
            users={"postgres": 999},
            owns={"/var/lib/postgresql/data": "postgres"},
            environment={"PATH": f"{programs}:{SYSTEM_PATH}", "PGDATA": "/var/lib/postgresql/data", "LANG": "C.UTF-8"},
            stop_signal=signal.SIGINT,
        ),
        "chrislusf/seaweedfs": Image(
            (script("weed"), "-logtostderr=true"), users={"seaweed": 1000}, owns={"/data": "seaweed"}
        ),
        "redis": Image(users={"redis": 999}, owns={"/data": "redis"}),
        "prom/prometheus": Image((debian("prometheus"),), owns={"/prometheus": "nobody"}, **unprivileged),
        "prom/alertmanager": Image(
            (debian("prometheus-alertmanager", "alertmanager"),), owns={"/alertmanager": "nobody"}, **unprivileged
        ),
        "prometheuscommunity/postgres-exporter": Image((debian("prometheus-postgres-exporter"),), **unprivileged),
        "prom/node-exporter": Image((debian("prometheus-node-exporter"),), **unprivileged),
    }


def our_image(target: str, built: Mapping[str, Path]) -> Image:
    """A target of our Dockerfile: variables, user, files, command and health check, with those of its base stages.

    Args:
        built: folder of the image → folder on this machine with the output of its build stage.
    """
    text = dockerfile()
    parts = re.split(r"^FROM (\S+)(?: AS (\S+))?$", text, flags=re.MULTILINE)[1:]
    stages = {name: (base, body) for base, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}
    body = stages[stages[target][0]][1] + stages[target][1]

    def arguments(instruction: str) -> list[str]:
        return [line.strip() for line in re.findall(rf"^{instruction} (.*)$", body, re.MULTILINE)]

    environment = {"PATH": SYSTEM_PATH}
    for word in (word for line in arguments("ENV") for word in shlex.split(line)):
        name, _, value = word.partition("=")
        environment[name] = value.replace("$PATH", environment["PATH"])
    (folder,) = arguments("WORKDIR")
    copies = {}
    for *sources, to in map(str.split, arguments("COPY")):
        if sources[0].startswith("--from="):
            copies[to] = built[to]
        else:
            copies |= {f"{folder}/{source}": ROOT / source for source in sources}
    return Image(
        command=tuple(yaml.safe_load(arguments("CMD")[-1])),
        user=arguments("USER")[-1],
        users={"platform": int(arguments("USER")[-1])},
        owns=dict.fromkeys(arguments("VOLUME"), "platform"),
        environment=environment | {"HOME": arguments("VOLUME")[-1]},
        healthcheck=("CMD", *yaml.safe_load(re.sub(r"^.*?CMD", "", arguments("HEALTHCHECK")[-1]))),
        folder=folder,
        copies=copies,
    )


def dockerfile() -> str:
    """Our Dockerfile, each instruction on one line."""
    return (DEPLOY / "compose" / "Dockerfile").read_text().replace("\\\n", " ")
