"""What the predict service costs without a peer: explanations, 1,000 records, start, resident memory; one record in the
process, stage by stage.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.accidents.features.builder import build_features
from accident_reco.models.accidents.scoring.group_bounds import GroupBounds
from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.scoring.user_groups import KINDS_OF_USER, SURROUNDINGS
from accident_reco.models.accidents.serving.columns import RawRows, merge_rows, to_columns
from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.comparisons.accident_service import (
    BODY,
    CONNECTIONS,
    predicting,
    prepare_home,
    target_of,
)
from accident_reco_tests.bench.load import Target, apply_load
from accident_reco_tests.bench.predict_process import ACCIDENT, RECORD

CALLS = 1_000
AT_START, UNDER_LOAD = "resident memory at start", "resident memory under mixed load"


def compare(options: Options) -> list[Row]:
    """Milliseconds of one connection by kind of request, and memory."""
    home, bundle = prepare_home(options)
    stages = {"one record": measure_stages(bundle, options.rounds)}
    stages[f"one of {CONNECTIONS} records"] = measure_stages(bundle, options.rounds, CONNECTIONS)
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
        *(
            Row(f"{what} in process: {name}", "µs of CPU", turns)
            for what, found in stages.items()
            for name, turns in found.items()
        ),
    ]


def measure_stages(bundle: Bundle, rounds: int, together: int = 1) -> dict[str, list[float]]:
    """Processor time of this thread for each stage of a record's answer, by round: the median of the calls.

    The stages run one after the other, as in a request, so that each finds the caches as the one before has left them.

    Args:
        together: requests of one record each that are computed in one call; each has its share of the time.
    """
    scorer = AccidentScorer.from_files(bundle.files)
    cells = [[[0, 1] for _ in KINDS_OF_USER] for _ in SURROUNDINGS]
    rule = replace(scorer.rule, groups=GroupBounds({"59": 1}, cells, ["everybody", "north"], [0.1, 0.2], [0.5, 0.6]))
    names = ("columns", "features", "trees", "calibration", "bounds by group")
    record = {name: [value] for name, value in RECORD.items()}
    requests = [RawRows(1, record) for _ in range(together)]
    turns: dict[str, list[float]] = {name: [] for name in (*names, "all stages")}
    for _ in range(rounds):
        calls = []
        for _ in range(CALLS):
            at = [time.thread_time_ns()]
            columns = merge_rows(requests).columns if together > 1 else to_columns(record)
            at.append(time.thread_time_ns())
            features = build_features(columns, scorer.spec)
            at.append(time.thread_time_ns())
            margin = scorer.margin(features)
            at.append(time.thread_time_ns())
            rule.probability(margin)
            at.append(time.thread_time_ns())
            rule.find_bounds(columns)
            at.append(time.thread_time_ns())
            calls.append([(later - earlier) / 1000 / together for earlier, later in pairwise(at)])
        for name, values in zip(names, zip(*calls, strict=True), strict=True):
            turns[name].append(statistics.median(values))
        turns["all stages"].append(statistics.median(map(sum, calls)))
    return turns


def _measure(target: Target, seconds: float) -> float:
    return apply_load(target, 1, seconds).p50
