"""What an image would bring to a container, taken from this machine: our environment and the files that our Dockerfile
copies, or the same program as a wheel or Debian package brings it. Entry points, users and data folders of the others'
images are stated here, as their own Dockerfiles state them."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from accident_reco.launch.programs import debian, postgres_program, script
from accident_reco.launch.stack_config import DEPLOY
from accident_reco_tests.running import ROOT

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
VENV = Path(sys.prefix)
# What docker-entrypoint.sh of the official image does: data and socket folders to their owner, then, as that owner,
# a first database with the stated password, logins by password from everywhere, and the server.
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
    """What an image says of itself, and which programs stand in for its own."""

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
    """Repository → what stands for it here. Raises LaunchError where a program is not installed."""
    nobody = {"user": "nobody", "users": {"nobody": 65534}}
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
        "prom/prometheus": Image((debian("prometheus"),), owns={"/prometheus": "nobody"}, **nobody),
        "prom/alertmanager": Image(
            (debian("prometheus-alertmanager", "alertmanager"),), owns={"/alertmanager": "nobody"}, **nobody
        ),
        "prometheuscommunity/postgres-exporter": Image((debian("prometheus-postgres-exporter"),), **nobody),
        "prom/node-exporter": Image((debian("prometheus-node-exporter"),), **nobody),
    }


def our_image(target: str, built: Mapping[str, Path]) -> Image:
    """A target of our Dockerfile: variables, user, files, command and health check of it and of what it builds on.

    Args:
        built: folder of the image → the same, as its builders made it.
    """
    text = dockerfile()
    parts = re.split(r"^FROM (\S+)(?: AS (\S+))?$", text, flags=re.MULTILINE)[1:]
    stages = {name: (base, body) for base, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}
    body = stages[stages[target][0]][1] + stages[target][1]

    def said(instruction: str) -> list[str]:
        return [line.strip() for line in re.findall(rf"^{instruction} (.*)$", body, re.MULTILINE)]

    environment = {"PATH": SYSTEM_PATH}
    for word in (word for line in said("ENV") for word in shlex.split(line)):
        name, _, value = word.partition("=")
        environment[name] = value.replace("$PATH", environment["PATH"])
    (folder,) = said("WORKDIR")
    copies = {}
    for *sources, to in map(str.split, said("COPY")):
        if sources[0].startswith("--from="):
            copies[to] = built[to]
        else:
            copies |= {f"{folder}/{source}": ROOT / source for source in sources}
    return Image(
        command=tuple(yaml.safe_load(said("CMD")[-1])),
        user=said("USER")[-1],
        users={"platform": int(said("USER")[-1])},
        owns=dict.fromkeys(said("VOLUME"), "platform"),
        environment=environment | {"HOME": said("VOLUME")[-1]},
        healthcheck=("CMD", *yaml.safe_load(re.sub(r"^.*?CMD", "", said("HEALTHCHECK")[-1]))),
        folder=folder,
        copies=copies,
    )


def dockerfile() -> str:
    """Our Dockerfile, each instruction on one line."""
    return (DEPLOY / "compose" / "Dockerfile").read_text().replace("\\\n", " ")
