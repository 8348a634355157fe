"""`python -m accident_reco.launch.demo`: the closed loop before one's eyes, on made-up data, in a home of its own.

Real processes throughout: Dagster with its daemon and sensors, predict, drift. Three chapters: traffic as at training
(nothing happens), traffic that moved (report red, training, gate, promotion, the API answers with the new version, the
gauge falls), and a candidate that cannot win (champion stays, back-off). Ends with exit code 1 when a chapter fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from accident_reco.launch.demo_data import moved_year, records, write_year
from accident_reco.launch.home import child_environment, prepare_home
from accident_reco.launch.platform import READY_SECONDS, start_dagster
from accident_reco.launch.processes import Children, LaunchError, free_port
from accident_reco.settings import Settings, variable
from accident_reco.storage.lifecycle import OPEN, work_request
from accident_reco.storage.warehouse import Warehouse

MODEL = "accidents"
BATCH = 500
TRAIN_SECONDS = 900.0
SOON_SECONDS = 120.0


class Demo:
    """The platform of the demonstration and what is done to it."""

    def __init__(self, home: Path, people: int) -> None:
        self.people = people
        self.source = home / "published"
        self.source.mkdir(parents=True, exist_ok=True)
        chosen: dict[str, Any] = {
            "home": home, "accidents_source": str(self.source), "auth_required": False, "metrics_public": True,
            "dagster_port": free_port(), "predict_port": free_port(), "drift_port": free_port(),
            "loop_seconds": 2, "drift_window_rows": 1000, "drift_share": 0.3, "drift_schedule": "0 0 1 1 *",
            "drift_sample_rows": 500, "retrain_needed": 2, "retrain_window": 3, "retrain_cooldown_seconds": 0,
            "retrain_new_years": 9, "retrain_in_one_process": True,
            "accidents_floor": 0.5, "accidents_minimum_gain": 0.0,
            "accidents_forest_trees": 40, "accidents_boosting_rounds": 80,
        }  # fmt: skip
        self.settings = Settings.load(**chosen)
        stated = {variable(name): str(value) for name, value in chosen.items()}
        self.environ = child_environment(self.settings, dict(os.environ) | stated)
        self.children = Children(self.environ, self.settings.logs)
        self.predict = httpx.Client(base_url=f"http://127.0.0.1:{self.settings.predict_port}", timeout=60)
        self.drift = httpx.Client(base_url=f"http://127.0.0.1:{self.settings.drift_port}", timeout=60)

    def prepare(self) -> None:
        """Home, first year, first champion, services."""
        prepare_home(self.settings)
        write_year(self.source, 2022, self.people // 4)
        self.job("ingest_accidents", partition="2022")
        self.job("train_accidents")
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

    def close(self) -> None:
        """Stop everything."""
        self.predict.close()
        self.drift.close()
        self.children.stop()

    def job(self, name: str, partition: str | None = None) -> None:
        """Run a job of the platform to its end. Raises LaunchError when it fails."""
        command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "accident_reco.definitions", "-j", name]
        if partition is not None:
            command += ["--tags", f'{{"dagster/partition": "{partition}"}}']
        if name.startswith("train"):
            together = self.settings.home / "in-one-process.yaml"
            together.write_text("execution: {config: {in_process: {}}}\n", encoding="utf-8")
            command += ["-c", str(together)]
        log = self.settings.logs / f"job-{name}.log"
        with log.open("wb") as output:
            done = subprocess.run(command, env=self.environ, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise LaunchError(f"the job {name} failed; see {log}")

    def send(self, year: int, seed: int) -> None:
        """A window's worth of requests about people of a stored year."""
        asked = records(self.settings, year, self.settings.drift_window_rows, seed)
        for start in range(0, len(asked), BATCH):
            self.predict.post("/predict/accidents", json={"records": asked[start : start + BATCH]}).raise_for_status()
        self.wait(
            lambda: self.gauge(self.predict, "prediction_log_queue_rows") == 0, SOON_SECONDS, "the requests are logged"
        )

    def report(self) -> dict[str, Any]:
        """Judge the window as the schedule would; the report as the drift service tells it."""
        self.job("report_accidents_drift")
        answer = self.drift.get(f"/monitoring/drift/{MODEL}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        say(f"    report {found['id'][:8]}: {found['status']}: {found['reason']}")
        return found

    def champion(self) -> str:
        """The version that the predict API answers with."""
        answer = self.predict.post("/predict/accidents", json={"records": [{"catu": 1}]})
        answer.raise_for_status()
        return str(answer.json()["version"])

    def decisions(self) -> list[dict[str, Any]]:
        """What the retrain policy decided, oldest first."""
        answer = self.drift.get(f"/monitoring/drift/{MODEL}/history")
        answer.raise_for_status()
        return list(reversed(answer.json()["decisions"]))

    def ended(self, request_id: str) -> str | None:
        """How a training request ended, with the gate's reason; None while it is open."""
        warehouse = Warehouse(self.settings.database)
        try:
            request = work_request(warehouse, request_id)
        finally:
            warehouse.close()
        if request is None or request["status"] in OPEN:
            return None
        return f"{request['status']}: {request['outcome']}"

    def share(self) -> float:
        """The gauge that alerts and dashboards look at."""
        return self.gauge(self.drift, f'drift_share{{model="{MODEL}"}}')

    def gauge(self, service: httpx.Client, name: str) -> float:
        """A sample of a service's metrics; NaN when it is not there."""
        for line in service.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        return float("nan")

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Until it is so. Raises LaunchError when it does not come to it, or when a process ends."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.children.check()
            if time.monotonic() > deadline:
                raise LaunchError(f"after {seconds:.0f} s it still is not so that {what}; see {self.settings.logs}")
            time.sleep(0.5)


def quiet(demo: Demo) -> None:
    """Chapter one: traffic like the training data leads to nothing."""
    first = demo.champion()
    say(f"\n1. Traffic as at training. Champion {first}.")
    demo.send(2022, seed=1)
    report = demo.report()
    expect(report["status"] in ("stable", "warning"), f"the report is not red ({report['reason']})")
    demo.wait(lambda: demo.share() < 0.3, SOON_SECONDS, "the gauge shows the report")
    expect(not demo.decisions(), "nothing was decided")
    expect(demo.champion() == first, "the champion is the same")


def moved(demo: Demo) -> None:
    """Chapter two: traffic moves, the loop answers with a new champion."""
    first = demo.champion()
    say("\n2. Traffic moves: motorcycles on country roads. The year's files are ingested meanwhile.")
    moved_year(demo.source, 2024, demo.people * 20)
    stored = demo.settings.home / "store" / "assets" / "accidents" / "victims" / "2024.json"
    demo.wait(stored.exists, TRAIN_SECONDS, "the new year is ingested by its sensor")
    for seed in (2, 3):
        demo.send(2024, seed)
        expect(demo.report()["status"] == "drift", "the report is red")
        count = seed - 1
        demo.wait(lambda n=count: len(demo.decisions()) >= n, SOON_SECONDS, "the policy decided")  # type: ignore[misc]
        say(f"    policy: {demo.decisions()[-1]['action']}: {demo.decisions()[-1]['reason']}")
    before = demo.share()
    expect(demo.decisions()[0]["rule"] == "hysteresis", "one red window is not enough")
    expect(demo.decisions()[1]["action"] == "train", "the second one starts a training")
    demo.wait(lambda: demo.champion() != first, TRAIN_SECONDS, "the gate let a new version serve")
    say(f"    the API answers with {demo.champion()}, promoted by the gate")
    demo.send(2024, seed=4)
    expect(demo.report()["status"] != "drift", "against the new reference the same traffic is not red")
    demo.wait(lambda: demo.share() < before, SOON_SECONDS, "the gauge falls")
    say(f"    drift_share fell from {before:.2f} to {demo.share():.2f}")


def lost(demo: Demo) -> None:
    """Chapter three: traffic moves back, but there is nothing new to learn from."""
    champion = demo.champion()
    say("\n3. Traffic moves back to what it was, and there is no new data to learn from.")
    known = len(demo.decisions())
    for seed in (5, 6):
        demo.send(2022, seed)
        expect(demo.report()["status"] == "drift", "the report is red")
        known += 1
        demo.wait(lambda n=known: len(demo.decisions()) >= n, SOON_SECONDS, "the policy decided")  # type: ignore[misc]
    expect(demo.decisions()[-1]["action"] == "train", "the policy starts a training")
    request = demo.decisions()[-1]["request_id"]
    demo.wait(lambda: demo.ended(request) is not None, TRAIN_SECONDS, "the training has ended")
    say(f"    training {demo.ended(request)}")
    expect(demo.champion() == champion, "the champion stays")
    demo.send(2022, seed=7)
    expect(demo.report()["status"] == "drift", "the report is red")
    demo.wait(lambda: len(demo.decisions()) > known, SOON_SECONDS, "the policy decided")
    say(f"    policy: {demo.decisions()[-1]['action']}: {demo.decisions()[-1]['reason']}")
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
    parser.add_argument("--people", type=int, default=4000, help="size of the made-up years")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="drift-demo-") as folder:
        demo = Demo(chosen.home or Path(folder), chosen.people)
        try:
            say("Preparing: a first year of made-up accidents, a first champion, the services …")
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
