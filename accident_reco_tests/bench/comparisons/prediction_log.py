"""What the prediction log costs: a service that logs and one that does not, in turns, on both warehouses."""

from __future__ import annotations

from functools import partial

from accident_reco_tests.bench.comparison import Options, Row, take_turns
from accident_reco_tests.bench.comparisons.accident_service import (
    CONNECTIONS,
    measure_turn,
    predicting,
    prepare_home,
    warehouses,
)
from accident_reco_tests.bench.load import Target, apply_load
from accident_reco_tests.bench.predict_process import Server

PEER = "the same service without a log"


def compare(options: Options) -> list[Row]:
    """Throughput and processor time of a request by warehouse."""
    home, _ = prepare_home(options)
    rows = []
    with warehouses(options) as stores:
        for store, settings in stores.items():
            with predicting(home, **settings) as logged, predicting(home, log_predictions="false", **settings) as bare:
                cpu: dict[str, list[float]] = {"logged": [], "bare": []}
                for _, target in (logged, bare):
                    apply_load(target, CONNECTIONS, options.seconds)  # what first requests import is no part of a turn
                rates = take_turns(
                    {
                        "logged": partial(_measure, logged, options.seconds, cpu["logged"]),
                        "bare": partial(_measure, bare, options.seconds, cpu["bare"]),
                    },
                    options.rounds,
                    lambda line, store=store: options.report(f"{store}, {line}"),
                )
            what = f"one record with the log, {CONNECTIONS} connections, {store}"
            rows.append(Row(what, "requests/s", rates["logged"], PEER, rates["bare"], "rate"))
            what = f"processor time of a request with the log, {store}"
            rows.append(Row(what, "ms", cpu["logged"], PEER, cpu["bare"], "cost"))
    return rows


def _measure(side: tuple[Server, Target], seconds: float, cpu: list[float]) -> float:
    rate, used = measure_turn(*side, seconds)
    cpu.append(used)
    return rate
