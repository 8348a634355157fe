"""What a second worker process of the predict service is worth: one and two, in turns, with the log on."""

from __future__ import annotations

from functools import partial

from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.comparisons.accident_service import predicting, prepare_home, warehouses
from accident_reco_tests.bench.load import Target, apply_load

CONNECTIONS = (32, 64)


def compare(options: Options) -> list[Row]:
    """Requests per second by warehouse. The client takes a part of the cores, too."""
    home, _ = prepare_home(options)
    rows = []
    with warehouses(options) as stores:
        for store, settings in stores.items():
            with (
                predicting(home, http_workers="2", **settings) as (_, two),
                predicting(home, http_workers="1", **settings) as (_, one),
            ):
                for connections in CONNECTIONS:
                    rates = take_turns(
                        {
                            "two": partial(_measure, two, connections, options.seconds),
                            "one": partial(_measure, one, connections, options.seconds),
                        },
                        options.rounds,
                        lambda line, of=f"{store}, {connections} connections": options.report(f"{of}, {line}"),
                    )
                    what = f"one record, two workers, {connections} connections, log in {store}"
                    rows.append(Row(what, "requests/s", rates["two"], "one worker", rates["one"], "rate", Goal(1.8)))
    return rows


def _measure(target: Target, connections: int, seconds: float) -> float:
    return apply_load(target, connections, seconds).rate
