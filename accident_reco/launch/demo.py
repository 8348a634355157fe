"""`python -m accident_reco.launch.demo`: the closed loop as a demonstration, on sample data, in a home of its own.

Real processes throughout: Dagster with its daemon and sensors, predict, drift. Three chapters: traffic as at training
(nothing happens), traffic that moved (report red, training, gate, promotion, the API answers with the new version, the
gauge falls), and a candidate that is worse (the gate refuses it on its numbers, the champion stays, the policy backs
off). Ends with exit code 1 when a chapter fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from accident_reco.contract import DemoScenario
from accident_reco.launch.home import child_environment, prepare_home
from accident_reco.launch.loop import SOON_SECONDS, TRAIN_SECONDS, Loop
from accident_reco.launch.platform import READY_SECONDS, start_dagster
from accident_reco.launch.processes import Children, LaunchError, free_port
from accident_reco.registry import models
from accident_reco.settings import Settings, variable


class Demo(Loop):
    """The platform of the demonstration and what is done to it."""

    def __init__(self, model: str, scenario: DemoScenario, home: Path, size: int) -> None:
        self.size = size
        self.source = home / "published"
        self.source.mkdir(parents=True, exist_ok=True)
        chosen: dict[str, Any] = {
            "home": home,
            "models": model,
            "auth_required": False,
            "metrics_public": True,
            "dagster_port": free_port(),
            "predict_port": free_port(),
            "drift_port": free_port(),
            "loop_seconds": 4,
            "drift_window_rows": 1000,
            "drift_share": 0.3,
            "drift_schedule": "0 0 1 1 *",
            "drift_sample_rows": 0,  # charts take most of a report's time
            "retrain_needed": 2,
            "retrain_window": 3,
            "retrain_cooldown_seconds": 0,
            "retrain_in_one_process": True,
            **scenario.settings(self.source),
        }
        settings = Settings.load(**chosen)
        stated = {variable(name): str(value) for name, value in chosen.items()}
        environ = child_environment(settings, dict(os.environ) | stated)
        self.children = Children(environ, settings.logs)
        super().__init__(model, scenario, settings, environ, self.children.check, say)

    def prepare(self) -> None:
        """Home, first year, first champion, services."""
        prepare_home(self.settings)
        self.scenario.write_first(self.source, self.size)
        for job, partition in self.scenario.first_jobs():
            self.job(job, partition=partition)
        start_dagster(self.children, self.settings)
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

    def restart_dagster(self, **settings: object) -> None:
        """Dagster again, with other settings; requests, cursors and history are kept where they were."""
        for name in ("daemon", "dagster", "code-server"):
            self.children.end(name)
        self.children.environ = dict(self.environ) | {variable(name): str(value) for name, value in settings.items()}
        start_dagster(self.children, self.settings)
        ready = f"http://127.0.0.1:{self.settings.dagster_port}/server_info"
        self.children.await_ready({"dagster": ready}, READY_SECONDS)

    def close(self) -> None:
        """Stop everything."""
        super().close()
        self.children.stop()


def quiet(demo: Demo) -> None:
    """Chapter one: traffic like the training data leads to nothing."""
    first = demo.champion()
    say(f"\n1. Traffic as at training. Champion {first}.")
    demo.send(demo.scenario.first, seed=1)
    report = demo.report()
    expect(report["status"] in ("stable", "warning"), f"the report is not red ({report['reason']})")
    demo.wait(lambda: demo.share() < 0.3, SOON_SECONDS, "the gauge shows the report")
    expect(not demo.decisions(), "nothing was decided")
    expect(demo.champion() == first, "the champion is the same")


def moved(demo: Demo) -> None:
    """Chapter two: traffic moves, the loop answers with a new champion."""
    first = demo.champion()
    say(f"\n2. Traffic moves: {demo.scenario.what_moves}. The files of that period are ingested meanwhile.")
    moved = demo.scenario.moved
    demo.scenario.write_moved(demo.source, demo.size)
    demo.wait(lambda: demo.ingested(moved), TRAIN_SECONDS, "the new period is ingested by its sensor")
    for seed in (2, 3):
        red_window(demo, moved, seed)
    before = demo.share()
    expect(demo.decisions()[0]["rule"] == "hysteresis", "one red window is not enough")
    expect(demo.decisions()[1]["action"] == "train", "the second one starts a training")
    demo.wait(lambda: demo.champion() != first, TRAIN_SECONDS, "the gate let a new version serve")
    say(f"    the API answers with {demo.champion()}, promoted by the gate")
    demo.send(moved, seed=4)
    expect(demo.report()["status"] != "drift", "against the new reference the same traffic is not red")
    demo.wait(lambda: demo.share() < before, SOON_SECONDS, "the gauge falls")
    say(f"    drift_share fell from {before:.2f} to {demo.share():.2f}")


def red_window(demo: Demo, year: int, seed: int) -> None:
    """A window of a year's traffic whose report is red, and what the policy makes of it."""
    known = len(demo.decisions())
    demo.send(year, seed)
    expect(demo.report()["status"] == "drift", "the report is red")
    demo.wait(lambda: len(demo.decisions()) > known, SOON_SECONDS, "the policy decided")
    say(f"    policy: {demo.decisions()[-1]['action']}: {demo.decisions()[-1]['reason']}")


def lost(demo: Demo) -> None:
    """Chapter three: traffic moves back, and the next model is trained on the cheap."""
    champion = demo.champion()
    say("\n3. Traffic moves back, and a training is given too little: its model is worse.")
    demo.restart_dagster(**demo.scenario.weak)
    red_window(demo, demo.scenario.first, seed=5)
    red_window(demo, demo.scenario.first, seed=6)
    expect(demo.decisions()[-1]["action"] == "train", "the policy starts a training")
    request = demo.decisions()[-1]["request_id"]
    demo.wait(lambda: demo.ended(request) is not None, TRAIN_SECONDS, "the training has ended")
    judged = demo.judged()
    say(f"    training {demo.ended(request)}: {judged['reason']}")
    expect(demo.ended(request) == "refused", "the gate refused the candidate")
    expect(judged["version"] != champion, "the candidate is another model than the champion")
    expect(judged["detail"]["comparison"]["gain"]["high"] < 0, "it is worse on the same held-out people, for sure")
    expect(demo.champion() == champion, "the champion stays")
    red_window(demo, demo.scenario.first, seed=7)
    expect(demo.decisions()[-1]["rule"] == "backoff", "the policy backs off after the lost candidate")


def expect(condition: bool, what: str) -> None:
    """Say what holds. Raises LaunchError when it does not."""
    if not condition:
        raise LaunchError(f"it is not so that {what}")
    say(f"  ✔ {what}")


def say(text: str) -> None:
    """To the terminal, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when the loop did what it is for."""
    parser = argparse.ArgumentParser(prog="python -m accident_reco.launch.demo", description=__doc__)
    parser.add_argument("--home", type=Path, help="empty directory to work in; by default one that is removed again")
    parser.add_argument("--model", help="model to show; by default the first that has a scenario")
    parser.add_argument("--size", type=int, help="rows of a period; by default as the scenario says")
    chosen = parser.parse_args(arguments)
    scenarios = {name: model.demo() for name, model in models(Settings.load()).items()}
    known = {name: scenario for name, scenario in scenarios.items() if scenario is not None}
    name = chosen.model or next(iter(known), "")
    if name not in known:
        parser.error(f"no scenario for {name or 'any model'}; models with one: {', '.join(known) or 'none'}")
    scenario = known[name]
    with tempfile.TemporaryDirectory(prefix="drift-demo-") as folder:
        demo = Demo(name, scenario, chosen.home or Path(folder), chosen.size or scenario.size)
        try:
            say(f"Preparing: first data of {name}, a first champion, the services …")
            demo.prepare()
            for chapter in (quiet, moved, lost):
                chapter(demo)
        except (LaunchError, httpx.HTTPError) as error:
            say(f"  ✘ {error}")
            return 1
        finally:
            demo.close()
    say("\nThe loop closed: drift → training → gate → promotion, and only then.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
