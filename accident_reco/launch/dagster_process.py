"""Runs one Dagster program in a container: `python -m accident_reco.launch.dagster_process daemon`, and so on.

Writes dagster.yaml and the workspace into the home, puts settings from secret files into the environment, and replaces
its process with the program.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from uuid import uuid4

from accident_reco.launch.dagster_servers import code_server_command
from accident_reco.launch.home import child_environment, dagster_yaml
from accident_reco.log_lines import report_crashes, report_failure
from accident_reco.settings import Settings, SettingsError

CODE_PORT = 4000
# For Loki: logs of runs as JSON on the container's output, beside Dagster's own text for terminals.
JSON_LOGS = """
python_logs:
  dagster_handler_config:
    handlers: {json: {class: logging.StreamHandler, stream: ext://sys.stdout, formatter: json, filters: [key_events]}}
    formatters: {json: {class: accident_reco.defs.run_logs.JsonRunFormatter}}
    filters: {key_events: {(): accident_reco.defs.run_logs.KeyEvents}}
"""
WORKSPACE = "load_from:\n  - grpc_server: {{host: {host}, port: {port}, location_name: accident_reco}}\n"


def build_command(program: str, settings: Settings, workspace: Path, code_port: int = CODE_PORT) -> list[str]:
    """Command line of a program."""
    run = [sys.executable, "-m", "accident_reco.launch.console_script"]
    listen = ["--host", settings.host, "--port"]
    common = ["--log-format", "json"]
    # Not `dagster-celery worker start`, which splits its -q into letters. The name contains the process id.
    celery = [*run, "celery", "--quiet", "-A", "accident_reco.defs.celery_app", "worker", "-Q", "dagster"]
    single = ["--concurrency", "1", "--without-gossip", "--without-mingle", "--loglevel", settings.log_level]
    guarded = [sys.executable, "-m", "serving.guard.dagster_server"]
    commands = {
        "code-server": [*code_server_command(settings.host, code_port), *common],
        "webserver": [*guarded, *listen, str(settings.dagster_port), *common, "-w", str(workspace)],
        "daemon": [*run, "dagster-daemon", "run", *common, "-w", str(workspace)],
        "liveness": [*run, "dagster-daemon", "liveness-check"],
        "exporter": [sys.executable, "-m", "accident_reco.defs.exporter"],
        "worker": [*celery, "-n", f"worker-{os.getpid()}@%h", *single],
    }
    return commands[program]


def _write_if_changed(path: Path, text: str) -> None:
    """Replace a file atomically if its text differs: other containers of the same home may be reading it."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")  # process ids repeat between containers
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def main() -> int:
    """Replace this process with the program; returns an exit code only if a setting is invalid."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco.launch.dagster_process", description=__doc__)
    parser.add_argument("program", choices=("code-server", "webserver", "daemon", "liveness", "exporter", "worker"))
    parser.add_argument("--code-host", default="code", help="where the code server is reached")
    parser.add_argument("--code-port", default=CODE_PORT, type=int, help="the code server's port")
    chosen = parser.parse_args()
    report_crashes(chosen.program)
    try:
        settings = Settings.load()
    except SettingsError as error:
        report_failure(chosen.program, str(error))
        return 2
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    _write_if_changed(settings.dagster_home / "dagster.yaml", dagster_yaml(settings) + JSON_LOGS)
    workspace = settings.dagster_home / "workspace.yaml"
    _write_if_changed(workspace, WORKSPACE.format(host=chosen.code_host, port=chosen.code_port))
    arguments = build_command(chosen.program, settings, workspace, chosen.code_port)
    os.execve(arguments[0], arguments, child_environment(settings, dict(os.environ)))  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
