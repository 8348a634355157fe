"""What the predict service costs without a peer: explanations, 1,000 records, start, resident memory."""

from __future__ import annotations

from functools import partial

from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.comparisons.accident_service import BODY, predicting, prepare_home, target_of
from accident_reco_tests.bench.load import Target, apply_load
from accident_reco_tests.bench.predict_process import ACCIDENT, RECORD

AT_START, UNDER_LOAD = "resident memory at start", "resident memory under mixed load"


def compare(options: Options) -> list[Row]:
    """Milliseconds of one connection by kind of request, and memory."""
    home, _ = prepare_home(options)
    with predicting(home) as (server, single):
        ready, start = server.ready_seconds, server.rss_mb
        targets = {
            "one record": single,
            "with its explanation": target_of(server, BODY, "/predict/accidents?explain=true"),
            "one accident of three road users": target_of(server, {"accidents": [ACCIDENT]}),
            "1,000 records": target_of(server, {"records": [RECORD] * 1000}),
        }
        times = take_turns(
            {name: partial(_measure, target, options.seconds) for name, target in targets.items()},
            options.rounds,
            options.report,
        )
        loaded = server.rss_mb
    added = [with_it - alone for with_it, alone in zip(times["with its explanation"], times["one record"], strict=True)]
    return [
        Row("p50 of one record", "ms", times["one record"]),
        Row("what an explanation adds", "ms", added, goal=Goal(2.5, "most", "ours")),
        Row("p50 of one accident of three road users", "ms", times["one accident of three road users"]),
        Row("p50 of 1,000 records", "ms", times["1,000 records"], goal=Goal(15, "most", "ours")),
        Row("start of the process until ready", "s", [ready]),
        Row(AT_START, "MB", [start]),
        Row(UNDER_LOAD, "MB", [loaded]),
    ]


def _measure(target: Target, seconds: float) -> float:
    return apply_load(target, 1, seconds).p50
