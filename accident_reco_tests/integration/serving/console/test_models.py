"""The pages of models in the browser: versions with their evidence, training, rollback, progress."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from accident_reco.lifecycle.gate import Comparison, Evaluation, Interval, SliceGain, decide
from accident_reco.lifecycle.rollout.control import Plan, carry_out, start
from accident_reco.lifecycle.rollout.decision import Calls, Evidence, RolloutPolicy, paired_labels
from accident_reco.lifecycle.rollout.decision import decide as decide_rollout
from accident_reco.lifecycle.rollout.state import Rollout
from accident_reco.lifecycle.store import ModelStore
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.training.assembly import build_gate_policy
from accident_reco.storage.clock import utc_now
from accident_reco.storage.lifecycle import record_promotion
from accident_reco.storage.objects import open_store
from accident_reco.storage.work_requests import advance_request, list_requests
from accident_reco_tests.support.console import USER, ConsolePlatform
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.real_accidents import real_bundle

MAX_BYTES = 150_000


@pytest.fixture(scope="module")
def second(platform: ConsolePlatform) -> str:
    """A second version of accidents, promoted by the gate's words, and a rejected one in the audit."""
    models = ModelStore(open_store(platform.settings.store))
    comparison = Comparison(
        900, 400, Interval(0.01, 0.004, 0.02), [SliceGain("catu: <b>x</b>", 400, Interval(0, -1, 1))]
    )
    candidate = replace(real_bundle(rounds=10, is_complete=True), metrics={"roc_auc": 0.8, "ece": 0, "brier": 0})
    policy = build_gate_policy(platform.settings.of(AccidentSettings))
    decision = decide(
        Evaluation(candidate.version, candidate.metrics), Evaluation("a", candidate.metrics), comparison, policy
    )
    assert decision.promote, decision.reason
    expected = models.pointer("accidents")
    assert expected is not None
    stored = models.write(replace(candidate, gate=decision.document()))
    models.point(stored, expected=expected, run_id="run2", reason=decision.reason)
    for promoted, action, reason in ((True, "promote", decision.reason), (False, "refuse", "gain is not significant")):
        record_promotion(
            platform.warehouse,
            model="accidents",
            version=stored.version,
            previous=expected.version,
            action=action,
            promoted=promoted,
            reason=reason,
            detail=decision.document()["detail"],
            run_id="run2",
        )
    predict, headers = platform.clients["predict"], platform.headers()
    wait_for(lambda: predict.get("/models/accidents", headers=headers).json()["champion"] == stored.version)
    return stored.version


def test_versions_with_their_evidence(platform: ConsolePlatform, browser: Any, second: str) -> None:
    """From the list to a version: interval, slices, calibration, confusion, lineage, the card as safe text."""
    with platform.person(browser, USER) as page:
        page.goto(f"{platform.url}/models")
        platform.check_page(page)
        page.locator("section", has_text="Severity of road accidents").get_by_text("Versions, decisions").click()
        page.get_by_text("gain is not significant").first.wait_for()
        assert page.get_by_role("img", name="Gain of roc_auc: +0.0100, 95 % interval").count() == 2
        assert page.get_by_role("button").filter(has_text="Train").count() == 0
        platform.check_page(page)
        page.locator("tbody th a").first.click()
        page.get_by_role("heading", name=second).first.wait_for()
        page.get_by_role("img", name="Observed rate over mean prediction").wait_for()
        assert page.get_by_role("region", name="Confusion at the threshold").locator("td").count() == 4
        assert page.get_by_role("region", name="Slices").locator("tbody tr").count() > 3
        card = page.get_by_role("region", name="Text of the model card")
        assert "<script>alert(1)</script>" in card.inner_text()
        assert card.locator("script, b, img, a").count() == 0
        assert len(page.content().encode()) < MAX_BYTES
        platform.check_page(page)


@pytest.mark.parametrize("javascript", [True, False])
def test_train_and_follow_it(platform: ConsolePlatform, browser: Any, second: str, javascript: bool) -> None:
    """A request with its reason; its page follows it until it ends."""
    with platform.person(browser, javascript=javascript) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{platform.url}/models/accidents")
        page.locator("#train-reason").fill("new <b>data</b>")
        page.get_by_role("button", name="Train now").click()
        page.get_by_text("Training requested").wait_for(timeout=30_000)
        assert page.get_by_text("new <b>data</b>").count()
        assert page.get_by_text("waiting").count()
        request = page.url.rpartition("/")[2]
        advance_request(platform.warehouse, request, "running", run_id="0123456789abcdef")
        page.locator("#progress").get_by_text("running", exact=True).wait_for()
        advance_request(platform.warehouse, request, "refused", outcome="gain is below 0.002")
        page.get_by_text("gain is below 0.002").wait_for()
        platform.check_page(page) if javascript else None


def test_roll_back_with_reason_and_confirmation(platform: ConsolePlatform, browser: Any, second: str) -> None:
    """Not without the confirmation; then the older version serves, and the audit has the reason."""
    predict, headers = platform.clients["predict"], platform.headers()
    with platform.person(browser) as page:
        answers = iter(("dismiss", "accept"))
        page.on("dialog", lambda dialog: getattr(dialog, next(answers))())
        page.goto(f"{platform.url}/models/accidents")
        page.locator("#rollback-reason").fill("worse in <i>practice</i>")
        page.get_by_role("button", name="Roll back").click()  # the checkbox is required
        page.get_by_label("The chosen version shall serve").check()
        page.get_by_role("button", name="Roll back").click()  # dismissed
        assert predict.get("/models/accidents", headers=headers).json()["champion"] == second
        page.get_by_role("button", name="Roll back").click()
        page.get_by_text("Rollback done").wait_for()
        wait_for(lambda: predict.get("/models/accidents", headers=headers).json()["champion"] != second)
        page.reload()
        first = page.get_by_role("region", name="Decisions, newest first").locator("tbody tr").first.inner_text()
        assert f"rolled back from {second}" in first
    assert list_requests(platform.warehouse, "rollback", limit=1)[0]["reason"] == "worse in <i>practice</i>"


@pytest.fixture
def rollout(platform: ConsolePlatform, second: str) -> Rollout:
    """A canary of a third version, evaluated seven times on more and more labels."""
    models, now = ModelStore(open_store(platform.settings.store)), utc_now()
    pointer = models.pointer("accidents")
    assert pointer is not None
    challenger = models.write(real_bundle(rounds=12, is_complete=True))
    plan = Plan("canary", (0.01, 0.1), timedelta(days=7), RolloutPolicy())
    state = start(models, platform.warehouse, challenger, pointer, plan, run_id="run3", reason="<i>better</i>", now=now)
    random = np.random.default_rng(1)
    losses = random.beta(1, 6, (2, 700))
    for evaluation in range(7):
        known = losses[:, : 100 * evaluation]
        labels = paired_labels(known[0], known[1], np.arange(known.shape[1]), plan.policy)
        evidence = Evidence(Calls(compared=500), 500, labels)
        step = decide_rollout(state, evidence, now, plan.policy)
        at = now + timedelta(minutes=evaluation)
        state = carry_out(models, platform.warehouse, state, step, by="rollout", now=at, evidence=evidence)
    return state


def test_follow_a_rollout_and_decide_on_it(platform: ConsolePlatform, browser: Any, rollout: Rollout) -> None:
    """Both curves for everybody; decisions for admins, with reason and confirmation."""
    drawn = ("Mean loss of champion and challenger", "Difference of the challenger's loss")
    with platform.person(browser, USER) as page:
        page.goto(f"{platform.url}/models/accidents")
        section = page.locator("section", has=page.get_by_role("heading", name="Rollout running"))
        for title in drawn:
            assert section.get_by_role("img", name=title).is_visible()
        # Two versions, of whose seven evaluations the first had no labels and the second the first interval.
        losses = section.get_by_role("img", name=drawn[0])
        assert losses.locator("path.line").count() == 2
        assert losses.locator("line.interval").count() == 12
        assert rollout.challenger[:8] in section.inner_text()
        assert "start by gate: canary: <i>better</i>" in section.inner_text()
        assert section.get_by_role("button").count() == 0
        platform.check_page(page)
    with platform.person(browser) as page:
        answers = iter(("dismiss", "accept", "accept"))
        asked: list[str] = []
        page.on("dialog", lambda dialog: (asked.append(dialog.message), getattr(dialog, next(answers))()))
        page.goto(f"{platform.url}/models/accidents")
        page.locator("#rollout-reason").fill("looks <b>fine</b>")
        page.get_by_role("button", name="Advance to 10 %").click()  # the checkbox is required
        assert asked == []
        page.get_by_label("The decision shall take effect").check()
        page.get_by_role("button", name="Advance to 10 %").click()  # dismissed
        page.get_by_role("button", name="Advance to 10 %").click()
        page.get_by_text("Rollout: running, 10% of the traffic.").wait_for()
        assert page.get_by_role("button", name="Promote the challenger").is_visible()
        platform.check_page(page)
        page.locator("#rollout-reason").fill("complaints")
        page.get_by_label("The decision shall take effect").check()
        page.get_by_role("button", name="Abort").click()
        page.get_by_text("Rollout: aborted, 0% of the traffic.").wait_for()
        section = page.locator("section", has=page.get_by_role("heading", name="Rollout aborted"))
        assert "abort by admin: complaints" in section.inner_text()
        assert section.get_by_role("button").count() == 0
    assert asked == ["Let the challenger answer 10\u202f% of the traffic?"] * 2 + [
        "End the rollout? The champion answers everything."
    ]


def test_refused_requests_are_explained(platform: ConsolePlatform) -> None:
    """Without a right, of an unknown model or version, with a reason that is too short, without a confirmation."""
    with platform.log_in(USER) as client:
        token = client.get("/models/movies").text.partition('name="csrf" value="')[2][:64]
        assert client.post("/models/movies/train", data={"csrf": token, "reason": "please"}).status_code == 403
        assert client.get("/models/cars").status_code == 404
        assert client.get("/models/movies/versions/" + "0" * 16).status_code == 404
        assert client.get("/models/movies/requests/" + "0" * 32).status_code == 403
    with platform.log_in() as client:
        token = client.get("/models/movies").text.partition('name="csrf" value="')[2][:64]
        rollback = {"csrf": token, "reason": "because"}
        assert client.post("/models/movies/rollback", data=rollback).status_code == 422
        refused = client.post("/models/movies/rollback", data=rollback | {"confirmed": "yes"})
        assert refused.status_code == 409
        assert "no earlier version" in refused.text.lower()
        assert client.post("/models/movies/rollout/advance", data=rollback).status_code == 422
        confirmed = rollback | {"confirmed": "yes"}
        assert client.post("/models/movies/rollout/advance", data=confirmed).status_code == 409
        assert client.post("/models/movies/rollout/restart", data=confirmed).status_code == 404
