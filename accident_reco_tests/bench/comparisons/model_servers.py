"""One record over HTTP against model servers that run the same ONNX file, one worker each, eight connections.

Ours checks a token, validates the record, builds the features, calibrates, and logs; theirs take the row of features.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from accident_reco_tests.bench import peers
from accident_reco_tests.bench.comparison import Goal, Options, Row, take_turns
from accident_reco_tests.bench.comparisons.accident_service import BODY, predicting, prepare_home, write_model
from accident_reco_tests.bench.comparisons.profiles import profile_service
from accident_reco_tests.bench.load import Target, apply_load
from accident_reco_tests.bench.peers import PeerMissing
from accident_reco_tests.bench.servers import MODEL_SERVERS, running

CONNECTIONS = 8
GOAL = Goal(15)


def compare(options: Options) -> list[Row]:
    """A row per server; one that cannot be installed or started is reported as missing."""
    home, bundle = prepare_home(options)
    model, features = write_model(bundle, options.folder)
    targets: dict[str, Target] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        for name, (peer, start) in MODEL_SERVERS.items():
            folder = options.folder / name.replace(" ", "_")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                python = peers.install(peer, options.peers, options.report)
                options.report(f"starting {peer.title}")
                targets[name] = stack.enter_context(running(start(python, model, features, folder)))
            except PeerMissing as error:
                missing[name] = str(error)
                options.report(f"{name} is missing: {error}")
        _, targets["ours"] = stack.enter_context(predicting(home))
        rates = take_turns(
            {name: partial(_measure, target, options.seconds) for name, target in targets.items()},
            options.rounds,
            options.report,
        )
    return list(_rows(rates, missing))


def profile(options: Options) -> str:
    """Functions of the service that take its time under eight connections."""
    return profile_service(options.folder / "home", BODY, max(2.0, options.seconds), CONNECTIONS)


def _measure(target: Target, seconds: float) -> float:
    return apply_load(target, CONNECTIONS, seconds).rate


def _rows(rates: dict[str, list[float]], missing: dict[str, str]) -> Iterator[Row]:
    what = f"one record, {CONNECTIONS} connections, same ONNX file"
    for name, (peer, _) in MODEL_SERVERS.items():
        theirs = rates.get(name, [])
        reason = missing.get(name, "")
        yield Row(what, "requests/s", rates["ours"], peer.title, theirs, "rate", GOAL, reason)
