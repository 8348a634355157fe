"""Decisions on a rollout: a table of cases, each with its reason."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from accident_reco.lifecycle.rollout.decision import (
    Calls,
    Evidence,
    Labels,
    RolloutPolicy,
    decide,
    paired_labels,
    read_policy,
    violation,
)
from accident_reco.lifecycle.rollout.evidence import summarize_calls
from accident_reco.lifecycle.rollout.sequential import Bounds
from accident_reco.lifecycle.rollout.state import Rollout

START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = RolloutPolicy(step_seconds=600, step_calls=100, max_labels=1000)
CANARY = Rollout(
    model="accidents",
    champion="a" * 16,
    challenger="b" * 16,
    manifest_sha256="",
    mode="canary",
    share=0.01,
    steps=(0.01, 0.1, 0.5),
    since=START.isoformat(),
    step_since=START.isoformat(),
    ends=(START + timedelta(days=1)).isoformat(),
    rule=POLICY.document(),
    run_id="run",
)
SHADOW = replace(CANARY, mode="shadow", share=0.0, steps=())
LAST = replace(CANARY, share=0.5)
NO_LABELS = Labels(Bounds(0, 0.0, -np.inf, np.inf), Bounds(0, 0.0, -np.inf, np.inf), 0.0)
UNDECIDED = Labels(Bounds(500, 0.001, -0.002, 0.004), Bounds(500, -0.001, -0.004, 0.002), 0.1)
WORSE = replace(UNDECIDED, difference=Bounds(500, 0.02, 0.001, 0.04))
NO_WORSE = replace(UNDECIDED, excess=Bounds(500, -0.01, -0.02, -0.001))
LATER = START + timedelta(seconds=600)
OVER = START + timedelta(days=1)


def evidence(labels: Labels = NO_LABELS, step_calls: int = 100, **calls: float) -> Evidence:
    return Evidence(Calls(**{"compared": 1000, "timed": 200} | calls), step_calls, labels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rollout", "known", "now", "action", "share", "reason"),
    [
        (CANARY, evidence(not_finite=1), START, "roll_back", 0.0, "service objective: 1 of 1000 scores are not finite"),
        (
            CANARY,
            evidence(WORSE),
            START,
            "roll_back",
            0.0,
            "worse: its loss differs from the champion's (0.1000) by +20",
        ),
        (
            CANARY,
            evidence(),
            START + timedelta(seconds=599),
            "hold",
            0.01,
            "this step lasts 1 s more; 0 groups of labels",
        ),
        (CANARY, evidence(step_calls=99), LATER, "hold", 0.01, "99 comparisons in this step, 100 are needed"),
        (CANARY, evidence(), LATER, "advance", 0.1, "100 comparisons without a violation; 0 groups of labels"),
        (replace(CANARY, share=0.1), evidence(), LATER, "advance", 0.5, "100 comparisons without a violation"),
        (CANARY, evidence(NO_WORSE), LATER, "advance", 0.1, "100 comparisons without a violation; its loss differs"),
        (
            LAST,
            evidence(UNDECIDED),
            LATER,
            "hold",
            0.5,
            "its loss differs from the champion's (0.1000) by +1.0 % [-2.0,",
        ),
        (LAST, evidence(NO_WORSE), LATER, "promote", 1.0, "not worse by more than 5%: its loss differs"),
        (LAST, evidence(UNDECIDED), OVER, "hold", 0.5, "not enough evidence by the end of the budget: its loss"),
        (LAST, evidence(NO_LABELS), OVER - timedelta(seconds=1), "hold", 0.5, "0 groups of labels, at least 100"),
        (SHADOW, evidence(), LATER, "hold", 0.0, "0 groups of labels, at least 100 are needed"),
        (SHADOW, evidence(NO_WORSE), LATER, "promote", 1.0, "not worse by more than 5%"),
        (SHADOW, evidence(NO_WORSE), START, "hold", 0.0, "this step lasts 600 s more"),
        (
            SHADOW,
            evidence(step_calls=0),
            OVER,
            "hold",
            0.0,
            "not enough evidence by the end of the budget: 0 comparisons",
        ),
    ],
)
def test_cases(rollout: Rollout, known: Evidence, now: datetime, action: str, share: float, reason: str) -> None:
    step = decide(rollout, known, now, POLICY)
    assert (step.action, step.share) == (action, share)
    assert step.reason.startswith(reason), step.reason


def test_the_end_of_the_budget_by_setting() -> None:
    promoting = replace(POLICY, undecided="promote")
    for now, labels in ((OVER, UNDECIDED), (LATER, replace(UNDECIDED, difference=Bounds(1000, 0.0, -0.1, 0.1)))):
        held, promoted = (decide(LAST, evidence(labels), now, policy) for policy in (POLICY, promoting))
        assert (held.action, held.reason[-29:]) == ("hold", "; held until a person decides")
        assert (promoted.action, promoted.share, promoted.reason[-21:]) == ("promote", 1.0, "; promoted by setting")
    # A violation counts to the end.
    assert decide(LAST, evidence(not_finite=1), OVER, promoting).action == "roll_back"
    assert decide(LAST, evidence(WORSE), OVER, promoting).action == "roll_back"


def timed(calls: int, slow: int, champion_slow: int = 0) -> Calls:
    return Calls(compared=500, timed=calls, p99_ms=9.0, champion_p99_ms=2.0, slow=slow, champion_slow=champion_slow)


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        (Calls(), None),
        (Calls(compared=10, not_finite=1), "1 of 10 scores are not finite"),
        (Calls(compared=10, errors=2), None),
        (Calls(compared=10, errors=3), "it failed on 30.0% of 10 inputs, the champion on 0.0%"),
        (Calls(compared=300, errors=3), None),
        (Calls(compared=299, errors=3), "it failed on 1.0% of 299 inputs, the champion on 0.0%"),
        (Calls(compared=100, errors=6, champion_errors=5), None),
        (Calls(compared=100, errors=7, champion_errors=5), "it failed on 7.0% of 100 inputs, the champion on 5.0%"),
        (Calls(compared=99, is_constant=True), None),
        (Calls(compared=100, is_constant=True), "its scores of 100 inputs are all equal, the champion's are not"),
        (Calls(compared=99, correlation=-0.9), None),
        (Calls(compared=100, correlation=-0.3), None),
        (Calls(compared=100, correlation=-0.31), "it orders 100 inputs against the champion (rank correlation -0.31)"),
        (timed(99, 99), None),
        (timed(100, 9), None),
        (timed(100, 10), "its p99 is 9.0 ms, the champion's 2.0 ms on the same inputs"),
        (timed(100, 16, 3), None),
        (timed(100, 17, 3), "its p99 is 9.0 ms, the champion's 2.0 ms on the same inputs"),
        (timed(1000, 10), None),
        (timed(1000, 11), "its p99 is 9.0 ms"),
    ],
)
def test_service_objectives(calls: Calls, words: str | None) -> None:
    found = violation(calls, POLICY)
    assert (found is None) if words is None else (found is not None and found.startswith(words)), found


def test_labels_decide_by_groups_and_relative_to_the_champions_loss() -> None:
    random = np.random.default_rng(3)
    champion = random.random(2000)
    worse = paired_labels(champion, champion + 0.1 + 0.01 * random.random(2000), np.arange(2000), POLICY)
    assert worse.difference.low > 0.09
    assert worse.excess.high > 0
    assert worse.describe().startswith(f"its loss differs from the champion's ({champion.mean():.4f}) by +21")
    equal = paired_labels(champion, champion, np.arange(2000), POLICY)
    assert equal.difference.low == equal.difference.high == 0.0
    assert equal.excess.high < 0
    # As many rows of one group say as little as one row.
    assert paired_labels(champion, champion, np.zeros(2000), POLICY).difference.groups == 1
    assert paired_labels(np.empty(0), np.empty(0), np.empty(0), POLICY).champion_loss == 0.0


def test_a_bound_at_zero_proves_nothing() -> None:
    """Equal losses: neither worse nor, without a margin, no worse."""
    equal = Labels(Bounds(500, 0.0, 0.0, 0.0), Bounds(500, 0.0, 0.0, 0.0), 0.1)
    assert decide(LAST, evidence(equal), LATER, POLICY).action == "hold"


def test_the_policy_of_the_rollout_decides_on_its_objectives() -> None:
    failing = evidence(errors=20)
    assert decide(CANARY, failing, START, POLICY).action == "roll_back"
    assert decide(CANARY, failing, START, replace(POLICY, error_rate=0.05)).action == "hold"


@pytest.mark.parametrize(
    ("groups", "loss", "words"),
    [
        (99, 0.1, "99 groups of labels, at least 100 are needed"),
        (100, 0.1, "its loss differs from the champion's (0.1000) by +50.0 % [-40.0, +80.0] on 100 groups of labels"),
        (100, 0.0, "its loss differs from the champion's (0.0000) by +0.0 % [-0.0, +0.0] on 100 groups of labels"),
        (100, 0.5, "its loss differs from the champion's (0.5000) by +10.0 % [-8.0, +16.0] on 100 groups of labels"),
    ],
)
def test_labels_in_words(groups: int, loss: float, words: str) -> None:
    assert replace(NO_LABELS, difference=Bounds(groups, 0.05, -0.04, 0.08), champion_loss=loss).describe() == words


def test_evidence_is_json_with_relative_figures() -> None:
    document = evidence(UNDECIDED).document()
    assert {name: document[name] for name in ("labels", "difference", "low", "high", "excess_high")} == pytest.approx(
        {"labels": 500, "difference": 0.01, "low": -0.02, "high": 0.04, "excess_high": 0.02}
    )
    unknown = evidence().document()
    assert [unknown[name] for name in ("difference", "low", "high", "excess_high")] == [None] * 4
    assert document["losses"] == {}
    assert document["champion_loss"] == 0.1
    assert document["calls"] == asdict(Calls(compared=1000, timed=200))
    assert evidence(replace(UNDECIDED, champion_loss=0.0)).document()["difference"] is None
    random = np.random.default_rng(4)
    losses = random.random((2, 400))
    own = evidence(paired_labels(losses[0], losses[1] + 0.5, np.arange(400), POLICY)).document()["losses"]
    for part, expected in (("champion", losses[0].mean()), ("challenger", losses[1].mean() + 0.5)):
        mean, low, high = own[part]
        assert mean == pytest.approx(expected)
        assert (mean - low, high - mean) == (pytest.approx(high - mean), pytest.approx(0.05, abs=0.02))
    few = evidence(paired_labels(losses[0][:9], losses[1][:9], np.arange(9), POLICY)).document()["losses"]
    assert few["champion"] == [pytest.approx(losses[0][:9].mean()), None, None]
    assert read_policy(POLICY.document()) == POLICY


def columns(**given: list[object]) -> dict[str, np.ndarray]:
    size = len(next(iter(given.values())))
    numbers = ("champion_score", "challenger_score", "agreement", "champion_ms", "challenger_ms")
    found = {name: np.array(given.get(name, [np.nan] * size), dtype=float) for name in numbers}
    return found | {"problem": np.array(given.get("problem", [None] * size), dtype=object)}


def summarize(found: dict[str, np.ndarray]) -> Calls:
    return summarize_calls(found, POLICY)


def test_comparisons_are_summarized() -> None:
    found = summarize(
        columns(
            champion_score=[0.1, 0.2, 0.3, np.nan, np.nan],
            challenger_score=[0.5, 0.5, np.nan, np.nan, np.nan],
            agreement=[1.0, 0.0, np.nan, np.nan, np.nan],
            champion_ms=[1.0, np.nan, 2.0, np.nan, np.nan],
            challenger_ms=[3.0, 5.0, 3.0, np.nan, np.nan],
            problem=[None, None, "not_finite", "failed", "champion_failed"],
        )
    )
    assert (found.compared, found.errors, found.champion_errors, found.not_finite, found.timed) == (5, 1, 1, 1, 2)
    assert (found.p99_ms, found.champion_p99_ms) == pytest.approx((3.0, 1.99))
    assert found.is_constant
    assert (found.distance, found.agreement) == pytest.approx((0.35, 0.5))
    assert summarize(columns(problem=[])) == Calls()
    both_constant = columns(champion_score=[0.2, 0.2], challenger_score=[0.5, 0.5])
    assert not summarize(both_constant).is_constant
    assert found.correlation is None
    mirrored = columns(champion_score=[0.1, 0.2, 0.2, 0.9], challenger_score=[0.9, 0.8, 0.8, 0.1])
    assert summarize(mirrored).correlation == pytest.approx(-1.0)
    alike = columns(champion_score=[0.1, 0.2, 0.4, 0.9], challenger_score=[0.2, 0.1, 0.5, 0.6])
    assert summarize(alike).correlation == pytest.approx(0.8)
    rankings = summarize(columns(agreement=[0.4, 0.6]))
    assert (rankings.distance, rankings.agreement, rankings.is_constant) == (None, 0.5, False)


@pytest.mark.parametrize(("champion_ms", "permitted"), [(1.0, 6.0), (4.9, 9.9), (5.0, 10.0), (5.1, 10.2), (20.0, 40.0)])
def test_the_permitted_p99_is_twice_the_champions_or_5_ms_more(champion_ms: float, permitted: float) -> None:
    assert POLICY.permitted_p99(champion_ms) == pytest.approx(permitted)


def times(champion: npt.ArrayLike, challenger: npt.ArrayLike) -> Calls:
    one, other = np.asarray(champion), np.asarray(challenger)
    return summarize(columns(champion_ms=list(one), challenger_ms=list(other), problem=[None] * len(one)))


def test_slow_calls_are_those_above_the_permitted_p99() -> None:
    found = times([1.0] * 99 + [30.0], [6.3, 6.2] * 50)
    assert found.champion_p99_ms == pytest.approx(1.29)
    assert (found.slow, found.champion_slow) == (50, 1)
    assert violation(found, POLICY) == "its p99 is 6.3 ms, the champion's 1.3 ms on the same inputs"


def test_a_few_slow_calls_prove_no_slow_challenger() -> None:
    """Of 100 calls the p99 is nearly the slowest one, and a pause of the machine makes it slow."""
    for slow, is_violated in ((9, False), (10, True)):
        found = times([1.0] * 100, [30.0] * slow + [1.0] * (100 - slow))
        assert found.p99_ms == pytest.approx(30.0)
        assert (violation(found, POLICY) is not None) == is_violated
    # Equal versions whose times have a heavy tail: none of 100 rollouts ends, looked at every 25 calls.
    random = np.random.default_rng(7)
    for _ in range(100):
        one, other = 0.5 + random.pareto(1.5, (2, 500))
        assert not any(violation(times(one[:n], other[:n]), POLICY) for n in range(100, 501, 25))
