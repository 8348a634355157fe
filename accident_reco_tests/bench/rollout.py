"""Measures what a shadow costs a saturated predict process: throughput, processor time and memory, with it and without.

`python -m accident_reco_tests.bench.rollout [--rounds N] [--sample 0.1]`: two processes on one home, one of them with
`ROLLOUT=shadow`, under the load of a few clients in turns of half a second, so that whatever else the machine does hits
both alike. Ratios are medians over pairs of turns.
"""

from __future__ import annotations

import argparse
import re
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.rollout.control import Plan, start
from accident_reco.lifecycle.rollout.decision import RolloutPolicy
from accident_reco.lifecycle.rollout.state import Rollout, read_rollout
from accident_reco.settings import Settings
from accident_reco.storage.clock import utc_now
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.bench.predict import ACCIDENT, RECORD, Server, prepare, running, throughput
from accident_reco_tests.support.toy import open_model_store
from serving.predict.rollout.comparer import TURN_SECONDS

MODEL = "accidents"


def begin_shadow(home: Path) -> Rollout:
    """A shadow of a challenger as large as the champion, and as good."""
    store, settings = open_model_store(home), Settings.load(home=home)
    pointer = store.pointer(MODEL)
    assert pointer is not None
    champion = store.manifest(MODEL, pointer.version)
    challenger = Bundle(
        MODEL,
        store.files(champion),
        {**champion.signature, "note": "challenger"},
        champion.metrics,
        champion.lineage,
        champion.gate,
    )
    warehouse = Warehouse(settings.database)
    plan = Plan("shadow", (), timedelta(days=1), RolloutPolicy())
    begun = start(
        store,
        warehouse,
        store.write(challenger),
        pointer,
        plan,
        run_id="bench",
        reason="measured",
        now=utc_now(),
    )
    warehouse.close()
    return begun


def read_metrics(server: Server, *names: str) -> list[float]:
    """Sums of metrics over the labels of the model."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        text = b""
        while part := connection.recv(1 << 16):
            text += part
    found = []
    for name in names:
        values = re.findall(rf'^{name}{{.*model="{MODEL}".*}} (\S+)$', text.decode(), re.MULTILINE)
        found.append(sum(map(float, values)))
    return found


def compare(shadow: Server, direct: Server, rounds: int, body: object) -> str:
    """Both processes in turns; medians over the rounds."""
    pairs: list[Sequence[float]] = []
    names = ("rollout_comparisons_total", "rollout_dropped_total", "predictions_total")
    before = read_metrics(shadow, *names)
    for number in range(rounds):
        first, second = (shadow, direct) if number % 2 else (direct, shadow)
        turn = {}
        for server in (first, second):
            # Longer than a turn of the comparisons, whose last one falls after the load.
            turn[server] = throughput(server, body, 2 * TURN_SECONDS)
            time.sleep(TURN_SECONDS)
        pairs.append((*turn[shadow], *turn[direct]))
    rate, cpu, direct_rate, direct_cpu = (statistics.median(pair[i] for pair in pairs) for i in range(4))
    slower = 1 - statistics.median(pair[0] / pair[2] for pair in pairs)
    more_cpu = statistics.median(pair[1] / pair[3] for pair in pairs) - 1
    compared, dropped, served = (b - a for a, b in zip(before, read_metrics(shadow, *names), strict=True))
    return (
        f"a shadow costs {slower:.1%} of throughput, {more_cpu:.1%} of processor time: {rate:.0f}/s and "
        f"{direct_rate:.0f}/s without; {cpu:.3f} and {direct_cpu:.3f} ms a request; compared {compared / served:.1%} "
        f"of {served:.0f} predictions, dropped {dropped:.0f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=12, help="pairs of turns of two seconds, for each kind of request"
    )
    parser.add_argument("--sample", type=float, default=0.1, help="share of the requests that are compared")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        prepare(home)
        begin_shadow(home)
        sample = str(arguments.sample)
        with running(home, rollout="shadow", rollout_sample=sample) as shadow, running(home) as direct:
            while read_metrics(shadow, "rollout_share") != [0.0]:  # -1 before it is loaded
                time.sleep(0.05)
            print(f"memory: {shadow.rss_mb:.0f} MB with both versions, {direct.rss_mb:.0f} MB with one")
            for name, body in {"one record": {"records": [RECORD]}, "one accident": {"accidents": [ACCIDENT]}}.items():
                print(f"{name}: {compare(shadow, direct, arguments.rounds, body)}")
            print(f"after load: {shadow.rss_mb:.0f} and {direct.rss_mb:.0f} MB")
        state = read_rollout(open_model_store(home), MODEL)
        assert state is not None
        assert state.is_running, f"an equal challenger was stopped: {state.decisions[-1]['reason']}"


if __name__ == "__main__":
    main()
