"""One record with token, validation, features, model and log, against an authenticated endpoint of the same body that
does nothing: FastAPI, pydantic, a remembered token, orjson, no log.
"""

from __future__ import annotations

from functools import partial

from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.comparisons.accident_service import BODY, predicting, prepare_home, warehouses
from accident_reco_tests.bench.comparisons.profiles import profile_service
from accident_reco_tests.bench.load import Target, apply_load
from accident_reco_tests.bench.peers import name_of_the_lock
from accident_reco_tests.bench.servers import running as running_peer
from accident_reco_tests.bench.servers import start_noop

CONNECTIONS = (1, 8, 32)


def compare(options: Options) -> list[Row]:
    """Requests per second by warehouse and connections, and the tail of one connection."""
    home, _ = prepare_home(options)
    rows = []
    with warehouses(options) as stores, running_peer(start_noop(BODY, options.folder)) as nothing:
        for store, settings in stores.items():
            with predicting(home, **settings) as (_, ours):
                for connections in CONNECTIONS:
                    rows += compare_rates({"ours": ours, "no-op": nothing}, connections, store, options)
    return rows


def compare_rates(targets: dict[str, Target], connections: int, store: str, options: Options) -> list[Row]:
    """Rows of one number of connections."""
    tails: dict[str, list[float]] = {side: [] for side in targets}

    def measure(side: str) -> float:
        load = apply_load(targets[side], connections, options.seconds)
        tails[side].append(load.p99 / load.p50)
        return load.rate

    of = f"{connections} connection{'s' * (connections > 1)}, log in {store}"
    rates = take_turns(
        {side: partial(measure, side) for side in targets},
        options.rounds,
        lambda line: options.report(f"{of}, {line}"),
    )
    peer = name_of_the_lock("fastapi", "no-op, FastAPI")
    rows = [Row(f"one record, {of}", "requests/s", rates["ours"], peer, rates["no-op"], "rate", Goal(0.6))]
    if connections == 1:
        rows.append(Row(f"p99 / p50 of one record, {of}", "", tails["ours"], goal=Goal(3, "most", "ours")))
    return rows


def profile(options: Options) -> str:
    """Functions of the service that take its time under eight connections."""
    return profile_service(options.folder / "home", BODY, max(2.0, options.seconds))
