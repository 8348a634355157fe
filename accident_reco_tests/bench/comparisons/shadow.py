"""What a shadow costs a saturated predict process: the same service with one and without, in turns on one home."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.rollout.control import Plan, start
from accident_reco.lifecycle.rollout.decision import RolloutPolicy
from accident_reco.lifecycle.rollout.state import read_rollout
from accident_reco.settings import Settings
from accident_reco.storage.clock import utc_now
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.comparisons.accident_service import BODY, measure_turn, prepare_home, target_of
from accident_reco_tests.bench.predict_process import ACCIDENT, Server, running
from accident_reco_tests.support.toy import open_model_store
from serving.predict.rollout.comparer import TURN_SECONDS

MODEL, SAMPLE = "accidents", 0.1
BODIES = {"one record": BODY, "one accident": {"accidents": [ACCIDENT]}}
PEER = "the same service without a shadow"


def compare(options: Options) -> list[Row]:
    """Throughput, processor time of a request and memory, at a sample of `SAMPLE`.

    Raises:
        RuntimeError: the equal challenger was stopped, or nothing was compared.
    """
    home, _ = prepare_home(options)
    begin_shadow(home)
    rows = []
    with running(home, rollout="shadow", rollout_sample=str(SAMPLE)) as shadow, running(home) as direct:
        while read_metric(shadow, f'rollout_share{{model="{MODEL}"}}') != 0.0:  # -1 before the rollout is seen
            time.sleep(0.05)
        for name, body in BODIES.items():
            cpu: dict[str, list[float]] = {"shadow": [], "direct": []}
            rates = take_turns(
                {
                    "shadow": partial(_measure, shadow, body, options.seconds, cpu["shadow"]),
                    "direct": partial(_measure, direct, body, options.seconds, cpu["direct"]),
                },
                options.rounds,
                lambda line, name=name: options.report(f"{name}, {line}"),
            )
            what = f"{name}, {SAMPLE:.0%} of the requests compared"
            rows.append(Row(what, "requests/s", rates["shadow"], PEER, rates["direct"], "rate", Goal(0.95)))
            rows.append(Row(f"processor time: {what}", "ms", cpu["shadow"], PEER, cpu["direct"], "cost"))
        rows.append(Row("memory after load, two versions", "MB", [shadow.rss_mb], PEER, [direct.rss_mb], "cost"))
        if not read_metric(shadow, "rollout_comparisons_total"):
            raise RuntimeError("no request was compared")
    state = read_rollout(open_model_store(home), MODEL)
    if state is None or not state.is_running:
        raise RuntimeError("the equal challenger was stopped")
    return rows


def begin_shadow(home: Path) -> None:
    """Begin the shadow of a challenger as large as the champion, and as good."""
    store, warehouse = open_model_store(home), Warehouse(Settings.load(home=home).database)
    pointer = store.pointer(MODEL)
    assert pointer is not None
    champion = store.manifest(MODEL, pointer.version)
    signature = {**champion.signature, "note": "challenger"}
    challenger = Bundle(MODEL, store.files(champion), signature, champion.metrics, champion.lineage, champion.gate)
    plan = Plan("shadow", (), timedelta(days=1), RolloutPolicy())
    stored = store.write(challenger)
    start(store, warehouse, stored, pointer, plan, run_id="bench", reason="measured", now=utc_now())
    warehouse.close()


def read_metric(server: Server, name: str) -> float | None:
    """Sum of a metric over the labels that the name leaves open; None where it has no value yet."""
    with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    values = re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, values)) if values else None


def _measure(server: Server, body: object, seconds: float, cpu: list[float]) -> float:
    # Longer than a turn of the comparisons, whose last one falls after the load.
    rate, used = measure_turn(server, target_of(server, body), max(seconds, 2 * TURN_SECONDS), TURN_SECONDS)
    cpu.append(used)
    return rate
