"""One Dagster program per container: `python -m accident_reco.launch.dagster_process daemon`, and so on.

Writes dagster.yaml and the workspace into the home, puts what came from secret files into the environment, and becomes
the program.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from uuid import uuid4

from accident_reco.launch.home import child_environment, dagster_yaml
from accident_reco.settings import Settings, SettingsError

CODE_PORT = 4000
# For Loki: what runs log, as JSON on the container's output. A person at a terminal reads Dagster's own text.
JSON_LOGS = """
python_logs:
  dagster_handler_config:
    handlers: {json: {class: logging.StreamHandler, stream: ext://sys.stdout, formatter: json, level: INFO}}
    formatters: {json: {class: accident_reco.defs.run_logs.RunLines}}
"""
WORKSPACE = "load_from:\n  - grpc_server: {{host: {host}, port: {port}, location_name: accident_reco}}\n"


def command(program: str, settings: Settings, workspace: Path, code_port: int = CODE_PORT) -> list[str]:
    """What to run."""
    scripts = Path(sys.executable).parent
    location = ["--module-name", "accident_reco.definitions", "--location-name", "accident_reco"]
    return {
        "code-server": [str(scripts / "dagster"), "api", "grpc", "--host", settings.host, "--port", str(code_port),
                        "--log-format", "json", *location],
        "webserver": [str(scripts / "dagster-webserver"), "--host", settings.host, "--port", str(settings.dagster_port),
                      "--log-format", "json", "-w", str(workspace)],
        "daemon": [str(scripts / "dagster-daemon"), "run", "--log-format", "json", "-w", str(workspace)],
        "liveness": [str(scripts / "dagster-daemon"), "liveness-check"],
        "exporter": [sys.executable, "-m", "accident_reco.defs.exporter"],
        # Not `dagster-celery worker start`, which takes its -q apart into letters. The name says which process it is.
        "worker": [str(scripts / "celery"), "--quiet", "-A", "accident_reco.defs.celery_app", "worker", "-Q", "dagster",
                   "-n", f"worker-{os.getpid()}@%h", "--concurrency", "1", "--without-gossip", "--without-mingle",
                   "--loglevel", settings.log_level],
    }[program]  # fmt: skip


def _state(path: Path, text: str) -> None:
    """Write a file that other containers of the same home may be reading."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        fresh = path.with_name(f".{path.name}.{uuid4().hex}")  # process ids repeat between containers
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)


def main() -> int:
    """Becomes the program; gives an exit code only when it cannot."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco.launch.dagster_process", description=__doc__)
    parser.add_argument("program", choices=("code-server", "webserver", "daemon", "liveness", "exporter", "worker"))
    parser.add_argument("--code-host", default="code", help="where the code server is reached")
    parser.add_argument("--code-port", default=CODE_PORT, type=int, help="the code server's port")
    chosen = parser.parse_args()
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    _state(settings.dagster_home / "dagster.yaml", dagster_yaml(settings) + JSON_LOGS)
    workspace = settings.dagster_home / "workspace.yaml"
    _state(workspace, WORKSPACE.format(host=chosen.code_host, port=chosen.code_port))
    arguments = command(chosen.program, settings, workspace, chosen.code_port)
    os.execve(arguments[0], arguments, child_environment(settings, dict(os.environ)))  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
