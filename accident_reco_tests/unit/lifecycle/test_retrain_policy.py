"""The retrain policy: a table of cases by the rule that decides, and the order of rules."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from accident_reco.lifecycle.retrain_policy import RetrainPolicy, RetrainState, decide_retrain, may_reevaluate
from accident_reco.settings import Settings

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = RetrainPolicy()


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


RED = RetrainState(windows=(True, True, False))

CASES = [
    # hysteresis: two of the last three windows, the latest among them
    ("drift", RED, POLICY, "train", "trigger", "11 of 20 features drifted"),
    ("drift", RetrainState(windows=(True, False, True)), POLICY, "train", "trigger", "11 of 20"),
    (
        "drift",
        RetrainState(windows=(True, False, False, True, True)),
        POLICY,
        "wait",
        "hysteresis",
        "1 of the last 3 windows drifted, 2 of 3 are needed",
    ),
    ("drift", RetrainState(windows=(True,)), POLICY, "wait", "hysteresis", "1 of the last 1 windows drifted"),
    ("drift", RetrainState(windows=(False, True, True)), POLICY, "wait", "hysteresis", "the latest window"),
    ("drift", RetrainState(), POLICY, "wait", "hysteresis", "the latest window"),
    ("drift", RetrainState(windows=(True,)), RetrainPolicy(needed=1, window=1), "train", "trigger", "11 of 20"),
    # an alert, new data and lost performance bring their own persistence
    ("alert", RetrainState(), POLICY, "train", "trigger", "11 of 20"),
    ("performance", RetrainState(), POLICY, "train", "trigger", "11 of 20"),
    ("data", RetrainState(), POLICY, "train", "trigger", "11 of 20"),
    # unless its evidence are the windows themselves
    ("alert", RetrainState(windows=(True,)), POLICY, "wait", "hysteresis", "1 of the last 1 windows drifted"),
    ("alert", RetrainState(windows=()), POLICY, "wait", "hysteresis", "the latest window"),
    ("alert", RED, POLICY, "train", "trigger", "11 of 20"),
    # mode
    ("drift", RED, RetrainPolicy(mode="off"), "wait", "off", "automatic retraining is off"),
    ("alert", RED, RetrainPolicy(mode="off"), "wait", "off", "automatic retraining is off"),
    ("drift", RED, RetrainPolicy(mode="suggest"), "suggest", "suggest", "training is suggested: 11 of 20"),
    ("drift", RetrainState(windows=(True,)), RetrainPolicy(mode="suggest"), "wait", "hysteresis", "1 of the last 1"),
    # single flight
    ("drift", RetrainState(windows=(True, True), training="req1"), POLICY, "wait", "single_flight", "training req1"),
    ("alert", RetrainState(training="req1"), POLICY, "wait", "single_flight", "training req1 is in progress"),
    # cool-down
    (
        "drift",
        RetrainState(windows=(True, True), started=(ago(5.9),)),
        POLICY,
        "wait",
        "cooldown",
        "cooling down until 2026-03-01 12:06:00 UTC: the last training started at 2026-03-01 06:06:00 UTC",
    ),
    ("drift", RetrainState(windows=(True, True), started=(ago(6.0),)), POLICY, "train", "trigger", "11 of 20"),
    ("data", RetrainState(started=(ago(1),)), POLICY, "wait", "cooldown", "cooling down"),
    # daily budget: the day slides
    (
        "drift",
        RetrainState(windows=(True, True), started=(ago(23), ago(15), ago(7))),
        POLICY,
        "wait",
        "budget",
        "3 trainings in 24 hours, the budget is 3",
    ),
    ("drift", RetrainState(windows=(True, True), started=(ago(24), ago(15), ago(7))), POLICY, "train", "trigger", "11"),
    ("drift", RED, RetrainPolicy(daily_budget=0), "wait", "budget", "0 trainings in 24 hours, the budget is 0"),
    # back-off after rejected candidates: doubles, has a limit, and new data lifts it
    (
        "drift",
        RetrainState(windows=(True, True), rejections=1, last_rejection_at=ago(11)),
        POLICY,
        "wait",
        "backoff",
        "backing off until 2026-03-01 13:00:00 UTC: 1 rejection",
    ),
    (
        "drift",
        RetrainState(windows=(True, True), rejections=1, last_rejection_at=ago(12)),
        POLICY,
        "train",
        "trigger",
        "11",
    ),
    (
        "drift",
        RetrainState(windows=(True, True), rejections=2, last_rejection_at=ago(23)),
        POLICY,
        "wait",
        "backoff",
        "backing off until 2026-03-01 13:00:00 UTC: 2 consecutive rejections",
    ),
    (
        "drift",
        RetrainState(windows=(True, True), rejections=2, last_rejection_at=ago(24)),
        POLICY,
        "train",
        "trigger",
        "11",
    ),
    (
        "drift",
        RetrainState(windows=(True, True), rejections=40, last_rejection_at=ago(167)),
        POLICY,
        "wait",
        "backoff",
        "40 ",
    ),
    (
        "drift",
        RetrainState(windows=(True, True), rejections=40, last_rejection_at=ago(168)),
        POLICY,
        "train",
        "trigger",
        "11",
    ),
    ("data", RetrainState(rejections=3, last_rejection_at=ago(8)), POLICY, "train", "trigger", "11 of 20"),
    # a training that would give the same version: last of the automatic rules, for a suggestion too
    ("drift", RetrainState(windows=(True, True), repetition="same"), POLICY, "wait", "unchanged", "same"),
    ("data", RetrainState(repetition="same"), RetrainPolicy(mode="suggest"), "wait", "unchanged", "same"),
    ("drift", RetrainState(windows=(True,), repetition="same"), POLICY, "wait", "hysteresis", "1 of the last 1"),
    ("alert", RetrainState(repetition="same", started=(ago(1),)), POLICY, "wait", "cooldown", "cooling down"),
    ("alert", RetrainState(repetition="same"), RetrainPolicy(mode="off"), "wait", "off", "is off"),
    # a request by a user: only that
    (
        "api",
        RetrainState(started=(ago(1),) * 9, rejections=3, last_rejection_at=ago(1)),
        RetrainPolicy(mode="off"),
        "train",
        "requested",
        "requested by a user: 11 of 20",
    ),
    ("api", RetrainState(training="req1"), POLICY, "train", "requested", "requested by a user: 11 of 20"),
    ("api", RetrainState(repetition="same"), POLICY, "wait", "unchanged", "same"),
]


@pytest.mark.parametrize(("source", "state", "policy", "action", "rule", "words"), CASES)
def test_table(source, state, policy, action, rule, words) -> None:
    """One line per rule and per edge of it."""
    decision = decide_retrain(source, "11 of 20 features drifted", state, policy, NOW)
    assert (decision.action, decision.rule) == (action, rule), decision.reason
    assert words in decision.reason
    assert decision.detail["source"] == source


@pytest.mark.parametrize(
    ("state", "policy", "rule"),
    [
        (RetrainState(started=(ago(5), ago(30))), POLICY, "cooldown"),
        (RetrainState(started=(ago(23), ago(22), ago(15), ago(7))), POLICY, "budget"),
        (RetrainState(started=(ago(7),)), RetrainPolicy(daily_budget=1), "budget"),
        (RetrainState(rejections=2, last_rejection_at=ago(23)), POLICY, "backoff"),
        (RetrainState(rejections=40, last_rejection_at=ago(1)), POLICY, "backoff"),
    ],
)
def test_what_a_clock_ends_names_the_time(state, policy, rule) -> None:
    """At that time the same rule lets go, and a minute before it does not: whoever waits knows for how long."""
    held = decide_retrain("alert", "red", state, policy, NOW)
    assert held.rule == rule
    assert held.until is not None
    assert held.until > NOW
    assert decide_retrain("alert", "red", state, policy, held.until - timedelta(minutes=1)).rule == rule
    assert decide_retrain("alert", "red", state, policy, held.until).action == "train"


@pytest.mark.parametrize(
    ("action", "until", "again"),
    [
        ("wait", None, True),
        ("wait", ago(-1), False),
        ("wait", NOW, True),
        ("train", None, False),
        ("suggest", None, False),
    ],
)
def test_a_trigger_that_goes_on_asks_anew_when_nothing_holds_it(action, until, again) -> None:
    """What was held back asks again, no sooner than its hold ends; what got its training or suggestion does not."""
    assert may_reevaluate(action, until, NOW) is again


def test_a_budget_of_nothing_never_returns() -> None:
    """No training a day: no time to wait for."""
    assert decide_retrain("alert", "red", RetrainState(), RetrainPolicy(daily_budget=0), NOW).until is None


def test_a_policy_that_can_never_be_met_is_refused() -> None:
    """Four of the last three windows would silently mean: never."""
    with pytest.raises(ValueError, match="needed = 4 must be between 1 and window = 3"):
        RetrainPolicy(needed=4, window=3)


def test_an_episode_of_red_windows_starts_one_training() -> None:
    """Drift every 15 minutes for a day, each candidate rejected: the policy sets the pace, not the reports."""
    policy = RetrainPolicy(cooldown=timedelta(hours=1), daily_budget=5, backoff=timedelta(hours=3))
    started: list[datetime] = []
    for tick in range(96):
        at = NOW + timedelta(minutes=15 * tick)
        rejections = len(started)
        state = RetrainState((True,) * 3, None, tuple(started), rejections, started[-1] if started else None)
        if decide_retrain("drift", "red", state, policy, at).action == "train":
            started.append(at)
    assert [int((at - NOW).total_seconds() // 3600) for at in started] == [0, 3, 9, 21]


@pytest.mark.parametrize(("needed", "window", "valid"), [(1, 1, True), (3, 3, True), (0, 3, False), (4, 3, False)])
def test_needed_windows_lie_between_one_and_the_window(needed: int, window: int, valid: bool) -> None:
    """Both ends are valid; none needed would train on a green window, more than the window never."""
    if valid:
        assert RetrainPolicy(needed=needed, window=window).needed == needed
    else:
        with pytest.raises(ValueError, match=f"^needed = {needed} must be between 1 and window = {window}$"):
            RetrainPolicy(needed=needed, window=window)


def test_detail_holds_what_the_rules_saw() -> None:
    """The recorded detail has the windows that count, trainings of the last 24 hours and rejections."""
    state = RetrainState(windows=(False, True, True, True), started=(ago(1), ago(30)), rejections=2)
    decision = decide_retrain("drift", "red", state, POLICY, NOW)
    assert decision.detail == {
        "source": "drift",
        "mode": "auto",
        "windows": [False, True, True],
        "started_in_24_h": 1,
        "rejections": 2,
    }
    assert decision.reason == "the latest window on the present champion has not drifted"
    assert decide_retrain("drift", "red", RED, RetrainPolicy(mode="off"), NOW).reason == "automatic retraining is off"


@pytest.mark.parametrize(
    "state",
    [RetrainState(rejections=0, last_rejection_at=ago(1)), RetrainState(rejections=2)],
    ids=["no rejection", "no time of it"],
)
def test_back_off_needs_a_rejection_and_its_time(state: RetrainState) -> None:
    """A rejection before the last promotion does not count, and without its time there is no end of a wait."""
    assert decide_retrain("alert", "red", state, POLICY, NOW).action == "train"


def test_every_setting_of_the_policy_applies(tmp_path: Path) -> None:
    """Each field is the value of its own setting; times are settings in seconds."""
    settings = Settings.load(
        home=tmp_path,
        retrain_mode="suggest",
        retrain_needed=4,
        retrain_window=5,
        retrain_cooldown_seconds=60,
        retrain_daily_budget=7,
        retrain_backoff_seconds=90,
    )
    assert RetrainPolicy.from_settings(settings) == RetrainPolicy(
        mode="suggest",
        needed=4,
        window=5,
        cooldown=timedelta(minutes=1),
        daily_budget=7,
        backoff=timedelta(seconds=90),
    )
