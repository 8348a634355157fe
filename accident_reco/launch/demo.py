"""Demonstrates the closed loop on sample data, in a home of its own.

Real processes throughout: Dagster with daemon and sensors, predict, drift. Three chapters: traffic as at training (no
action), drifted traffic (drift report, training, gate, promotion, the API answers with the new version, the gauge
falls), and a worse candidate (the gate rejects it, the champion stays, the policy backs off).
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from accident_reco.contract import DemoScenario
from accident_reco.launch.dagster_servers import (
    start_code_server,
    start_daemon,
    start_dagster,
    start_web_server,
    workspace_file,
)
from accident_reco.launch.home import child_environment, prepare_home
from accident_reco.launch.loop import REACTION_SECONDS, TRAIN_SECONDS, Loop
from accident_reco.launch.platform import READY_SECONDS
from accident_reco.launch.processes import Children, LaunchError, free_port
from accident_reco.registry import UnknownModelError, models
from accident_reco.settings import Settings, variable


class Demo(Loop):
    """The platform of the demonstration: its settings, its processes, its loop."""

    def __init__(self, model: str, scenario: DemoScenario, home: Path, size: int) -> None:
        self.size = size
        self.source = home / "published"
        self.source.mkdir(parents=True, exist_ok=True)
        overrides: dict[str, Any] = {
            "home": home,
            "models": model,
            "auth_required": False,
            "metrics_public": True,
            "dagster_port": free_port(),
            "predict_port": free_port(),
            "drift_port": free_port(),
            "loop_seconds": 4,
            "trigger_seconds": 4,
            "drift_window_rows": 1000,
            "drift_schedule": "0 0 1 1 *",
            "drift_sample_rows": 0,  # charts take most of a report's time
            "retrain_needed": 2,
            "retrain_window": 3,
            "retrain_cooldown_seconds": 0,
            "retrain_in_one_process": True,
            **scenario.settings(self.source),
        }
        settings = Settings.load(**overrides)
        variables = {variable(name): str(value) for name, value in overrides.items()}
        environ = child_environment(settings, dict(os.environ) | variables)
        self.children = Children(environ, settings.logs)
        self.environ = environ
        super().__init__(model, scenario, settings, self.children.check, print_line)

    def prepare(self) -> None:
        """Prepare the home, ingest the first period, train the first champion, start the services."""
        prepare_home(self.settings)
        self.scenario.write_first(self.source, self.size)
        start_code_server(self.children, self.settings)
        start_web_server(self.children, self.settings)
        self.run_first_jobs()
        start_daemon(self.children, self.settings)
        for name in ("predict", "drift"):
            self.children.start(name, [sys.executable, "-m", f"serving.{name}"])
        base = "http://127.0.0.1"
        self.children.await_ready(
            {
                "dagster": f"{base}:{self.settings.dagster_port}/server_info",
                "predict": f"{base}:{self.settings.predict_port}/readyz",
                "drift": f"{base}:{self.settings.drift_port}/readyz",
            },
            READY_SECONDS,
        )

    def run_first_jobs(self) -> None:
        """Run the scenario's first jobs to their end, without a daemon.

        Raises:
            LaunchError: a job failed.
        """
        workspace = str(workspace_file(self.settings))
        jobs = [job if partition is None else f"{job}:{partition}" for job, partition in self.scenario.first_jobs()]
        command = [sys.executable, "-m", "accident_reco.defs.pipeline", "--workspace", workspace, "--job", *jobs]
        child = self.children.start("first-jobs", command)
        code = child.process.wait()
        tail = child.tail()
        self.children.end(child.name)
        if code != 0:
            raise LaunchError(f"the first jobs failed; the end of {child.log}:\n{tail}")

    def restart_dagster(self, **settings: object) -> None:
        """Restart Dagster with other settings; requests, cursors and history are kept."""
        for name in ("daemon", "dagster", "code-server"):
            self.children.end(name)
        self.children.environ = dict(self.environ) | {variable(name): str(value) for name, value in settings.items()}
        start_dagster(self.children, self.settings)
        ready = f"http://127.0.0.1:{self.settings.dagster_port}/server_info"
        self.children.await_ready({"dagster": ready}, READY_SECONDS)

    def close(self) -> None:
        """Stop every process."""
        super().close()
        self.children.stop()


def show_stable_traffic(demo: Demo) -> None:
    """Chapter one: traffic like the training data causes no action."""
    first = demo.champion()
    print_line(f"\n1. Traffic as at training. Champion {first}.")
    demo.send(demo.scenario.first, seed=1)
    report = demo.report()
    expect(report["status"] in ("stable", "warning"), f"the report shows no drift ({report['reason']})")
    demo.wait(lambda: demo.drift_alarm() == 0, REACTION_SECONDS, "the gauge shows the report")
    expect(not demo.decisions(), "the policy made no decision")
    expect(demo.champion() == first, "the champion is unchanged")


def show_drifted_traffic(demo: Demo) -> None:
    """Chapter two: traffic drifts, the loop promotes a new champion."""
    first = demo.champion()
    print_line(f"\n2. Drifted traffic: {demo.scenario.what_moves}. The files of that period are ingested meanwhile.")
    moved = demo.scenario.moved
    demo.scenario.write_moved(demo.source, demo.size)
    demo.wait(lambda: demo.is_ingested(moved), TRAIN_SECONDS, "the sensor ingested the new period")
    for seed in (2, 3):
        send_drifted_window(demo, moved, seed)
    before = demo.drift_share()
    expect(demo.decisions()[0]["rule"] == "hysteresis", "one window with drift is not enough")
    expect(demo.decisions()[1]["action"] == "train", "the second one starts a training")
    demo.wait(lambda: demo.champion() != first, TRAIN_SECONDS, "the gate promoted a new version")
    print_line(f"    the API answers with {demo.champion()}, promoted by the gate")
    demo.send(moved, seed=4)
    expect(demo.report()["status"] != "drift", "with the new reference the same traffic shows no drift")
    demo.wait(lambda: demo.drift_share() < before, REACTION_SECONDS, "the gauge falls")
    print_line(f"    drift_share fell from {before:.2f} to {demo.drift_share():.2f}")


def send_drifted_window(demo: Demo, year: int, seed: int) -> None:
    """Send a window of a period's traffic; expects a report with drift and a decision of the policy."""
    known = len(demo.decisions())
    demo.send(year, seed)
    expect(demo.report()["status"] == "drift", "the report shows drift")
    demo.wait(lambda: len(demo.decisions()) > known, REACTION_SECONDS, "the policy decided")
    print_line(f"    policy: {demo.decisions()[-1]['action']}: {demo.decisions()[-1]['reason']}")


def show_rejected_candidate(demo: Demo) -> None:
    """Chapter three: traffic moves back, and a training with weak settings makes a worse candidate."""
    champion = demo.champion()
    print_line("\n3. Traffic moves back, and a training with weak settings makes a worse model.")
    demo.restart_dagster(**demo.scenario.weak)
    send_drifted_window(demo, demo.scenario.first, seed=5)
    send_drifted_window(demo, demo.scenario.first, seed=6)
    expect(demo.decisions()[-1]["action"] == "train", "the policy starts a training")
    request = demo.decisions()[-1]["request_id"]
    demo.wait(lambda: demo.request_outcome(request) is not None, TRAIN_SECONDS, "the training ended")
    decision = demo.latest_promotion_decision()
    print_line(f"    training {demo.request_outcome(request)}: {decision['reason']}")
    expect(demo.request_outcome(request) == "refused", "the gate rejected the candidate")
    expect(decision["version"] != champion, "the candidate is another model than the champion")
    expect(
        decision["detail"]["comparison"]["gain"]["high"] < 0,
        "it is significantly worse on the same holdout rows (95 % CI)",
    )
    expect(demo.champion() == champion, "the champion stays")
    send_drifted_window(demo, demo.scenario.first, seed=7)
    expect(demo.decisions()[-1]["rule"] == "backoff", "the policy backs off after the rejected candidate")


def expect(condition: bool, what: str) -> None:
    """Print the expectation `what` if `condition` holds.

    Raises:
        LaunchError: it does not hold.
    """
    if not condition:
        raise LaunchError(f"expected: {what}")
    print_line(f"  ✔ {what}")


def print_line(text: str) -> None:
    """Print a line without buffering."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run_demo(settings: Settings, model: str | None = None, home: Path | None = None, size: int | None = None) -> None:
    """Show the three chapters.

    Args:
        model: model to show; by default the first that has a scenario.
        home: empty directory to work in; by default a temporary one.
        size: rows per period; by default the scenario's.

    Raises:
        UnknownModelError: the model has no scenario.
        LaunchError: an expectation of a chapter does not hold.
    """
    scenarios = {name: plugin.demo() for name, plugin in models(settings).items()}
    known = {name: scenario for name, scenario in scenarios.items() if scenario is not None}
    name = model or next(iter(known), "")
    if name not in known:
        raise UnknownModelError(f"no scenario for {name or 'any model'}; models with one: {', '.join(known) or 'none'}")
    scenario = known[name]
    with tempfile.TemporaryDirectory(prefix="drift-demo-") as folder:
        demo = Demo(name, scenario, home or Path(folder), size or scenario.size)
        try:
            print_line(f"Preparing: first data of {name}, a first champion, the services …")
            demo.prepare()
            for chapter in (show_stable_traffic, show_drifted_traffic, show_rejected_candidate):
                chapter(demo)
        except (LaunchError, httpx.HTTPError) as error:
            raise LaunchError(f"  ✘ {error}") from None
        finally:
            demo.close()
    print_line("\nThe loop closed: drift → training → gate → promotion.")
