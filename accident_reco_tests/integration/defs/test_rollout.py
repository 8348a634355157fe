"""Rollout through Dagster: evaluation on labels, the asset's timeline, the sensor, and the training's request."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg
import numpy as np
import pytest

from accident_reco.defs import rollout as rollout_defs
from accident_reco.defs.resources import Platform
from accident_reco.defs.rollout import evaluate
from accident_reco.lifecycle.rollout.control import Plan, start
from accident_reco.lifecycle.rollout.decision import RolloutPolicy
from accident_reco.lifecycle.rollout.plans import plan_rollout
from accident_reco.lifecycle.rollout.state import Rollout, read_rollout
from accident_reco.registry import get_model
from accident_reco.settings import Settings, SettingsError
from accident_reco.storage.clock import utc_now
from accident_reco.storage.prediction_log import add_feedback, delete_older_than, erase_user, insert_predictions
from accident_reco.storage.rollout_calls import insert_calls
from accident_reco_tests.support.small_loop import promote, tick

PLAN = Plan("canary", (0.1, 0.5), timedelta(days=1), RolloutPolicy(step_seconds=0, step_calls=10, margin=0.2))


@pytest.fixture
def platform(platform, monkeypatch):
    monkeypatch.setenv("ACCIDENT_RECO_ROLLOUT", "canary")
    return Platform(home=platform.home)


@pytest.fixture
def definitions(platform):
    settings = platform.settings
    parts = [rollout_defs.definitions(get_model(settings, "accidents"), settings)]
    return dg.Definitions.merge(*parts, dg.Definitions(resources={"platform": platform}))


@pytest.fixture
def begun(platform) -> Rollout:
    """A canary beside the champion: a version with another seed."""
    pointer = platform.models.pointer("accidents")
    assert pointer is not None
    other = promote(platform, 2)
    manifest = platform.models.manifest("accidents", other)
    back = platform.models.pointer("accidents")
    back = platform.models.swap("accidents", replace(pointer, reason="first again"), back.tag)
    return start(
        platform.models, platform.warehouse, manifest, back, PLAN, run_id="run", reason="better", now=utc_now()
    )


def compare(platform: Platform, rollout: Rollout, worse: float, rows: int = 600, labels: bool = True) -> None:
    """Comparisons whose challenger is off by `worse` from the champion's probability, with their labels."""
    random = np.random.default_rng(5)
    truth = random.beta(0.6, 2.4, rows)
    outcome = (random.random(rows) < truth).astype(float)
    champion = np.clip(truth + random.normal(0, 0.02, rows), 0, 1)
    challenger = np.clip(truth + random.normal(0, 0.02, rows) + worse * (1 - 2 * outcome), 0, 1)
    at, common = utc_now(), {"model": "accidents", "champion": rollout.champion, "challenger": rollout.challenger}
    calls, logged = [], []
    for n in range(rows):
        row: dict[str, Any] = {
            "id": f"{rollout.challenger}-{n}",
            "answered_by": rollout.champion,
            "at": at,
            "group_key": f"accident-{n // 2}",
            "champion_score": float(champion[n]),
            "challenger_score": float(challenger[n]),
            "agreement": 1.0,
            "champion_ms": 1.0,
            "challenger_ms": 1.1,
            "problem": None,
        }
        calls.append(common | row)
        logged.append(
            {
                "id": row["id"],
                "request_id": "r",
                "at": at,
                "model": "accidents",
                "version": rollout.champion,
                "user_name": "ada",
                "source": "json",
                "status": 200,
                "score": row["champion_score"],
                "answer": {},
                "latency_ms": 1.0,
                "inputs": {},
            }
        )
        if labels:
            label = {"prediction_id": row["id"], "model": "accidents", "label": {}, "outcome": float(outcome[n])}
            add_feedback(platform.warehouse, label | {"predicted_at": at, "at": at})
    insert_predictions(platform.warehouse, logged)
    insert_calls(platform.warehouse, calls)


def materialize(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dict[str, Any]:
    """Run the job; returns the metadata of the asset."""
    job = definitions.get_repository_def().get_job("evaluate_accidents_rollout")
    assert job.execute_in_process(instance=instance).success
    event = instance.get_latest_materialization_event(dg.AssetKey(["accidents", "rollout"]))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_labels_promote_a_challenger_that_is_as_good(definitions, instance, platform, begun) -> None:
    """Each evaluation takes one step; the timeline shows all of them, the plot the bounds."""
    compare(platform, begun, worse=0.0)
    shares = []
    for _ in range(2):
        shown = materialize(definitions, instance)
        shares.append((shown["state"], shown["share"]))
        assert shown["labels"] == 300, "two road users of an accident are one observation"
        # What was compared before a step does not count for the next one.
        if shown["state"] == "running":
            more = [{"id": f"more-{len(shares)}-{n}"} for n in range(10)]
            common = {"model": "accidents", "champion": begun.champion, "challenger": begun.challenger}
            insert_calls(
                platform.warehouse, [common | row | {"answered_by": begun.champion, "at": utc_now()} for row in more]
            )
    assert shares == [("running", 0.5), ("promoted", 1.0)]
    assert "| advance | 50% | rollout |" in shown["timeline"]
    assert "| promote | 100% | rollout | not worse by more than 20%" in shown["timeline"]
    assert shown["evidence"].startswith("![evidence](data:image/png;base64,")
    pointer = platform.models.pointer("accidents")
    assert pointer is not None
    assert pointer.version == begun.challenger
    assert pointer.reason.startswith("canary passed: not worse by more than 20%")


def test_labels_roll_a_worse_challenger_back(definitions, instance, platform, begun) -> None:
    compare(platform, begun, worse=0.15)
    shown = materialize(definitions, instance)
    assert (shown["state"], shown["share"]) == ("rolled_back", 0.0)
    assert shown["reason"].startswith("worse: its loss differs from the champion's")
    assert platform.models.pointer("accidents").version == begun.champion


def test_without_labels_it_advances_and_waits(platform, begun) -> None:
    compare(platform, begun, worse=0.15, labels=False)
    model = get_model(platform.settings, "accidents")
    first, second = (evaluate(platform, model, utc_now()) for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.share, second.share, second.outcome) == (0.5, 0.5, None)
    assert second.latest is not None
    assert second.latest["reason"].startswith("0 comparisons in this step, 10 are needed")


def test_the_sensor_starts_one_run_an_interval_and_one_after_the_end(definitions, instance, platform, begun) -> None:
    first = tick(definitions, instance, "accidents_rollout")
    (request,) = first.run_requests
    assert request.tags["rollout"] == begun.challenger
    assert tick(definitions, instance, "accidents_rollout", first.cursor).run_requests == []
    # Another champion ends it; the sensor's run records that.
    promote(platform, 3)
    after = tick(definitions, instance, "accidents_rollout", first.cursor)
    assert len(after.run_requests) == 1
    assert materialize(definitions, instance)["state"] == "superseded"
    assert tick(definitions, instance, "accidents_rollout", after.cursor).run_requests == []


def test_no_rollout_is_no_work(definitions, instance, platform) -> None:
    assert tick(definitions, instance, "accidents_rollout").skip_message == "no rollout"


def test_switched_off_it_ends(platform, begun) -> None:
    direct = Platform(home=platform.home)
    settings = Settings.load(home=platform.home, rollout="direct")
    direct.__dict__["settings"] = settings
    ended = evaluate(direct, get_model(settings, "accidents"), utc_now())
    assert ended is not None
    assert (ended.outcome, ended.decisions[-1]["reason"]) == ("aborted", "rollouts are switched off")
    assert plan_rollout(settings, "accidents") is None


def test_comparisons_are_erased_and_expire_with_their_predictions(platform, begun) -> None:
    compare(platform, begun, worse=0.0, rows=20)
    assert erase_user(platform.warehouse, "ada") == {"predictions": 20, "feedback": 20}
    compare(platform, begun, worse=0.0, rows=20)  # would fail on ids that are still there
    assert delete_older_than(platform.warehouse, timedelta(0)) == 60


def test_settings_name_the_models(tmp_path) -> None:
    settings = Settings.load(home=tmp_path, rollout="shadow,movies=canary", rollout_steps="0.05,0.2")
    assert [settings.rollout_mode(name) for name in ("accidents", "movies")] == ["shadow", "canary"]
    plan = plan_rollout(settings, "movies")
    assert plan is not None
    assert (plan.mode, plan.steps) == ("canary", (0.05, 0.2))
    assert Settings.load(home=tmp_path, rollout="movies=canary").rollout_mode("accidents") == "direct"
    for wrong in ({"rollout": "films=canary"}, {"rollout_steps": "0.5,0.1"}, {"rollout": "blue"}):
        with pytest.raises(SettingsError, match="ACCIDENT_RECO_ROLLOUT"):
            Settings.load(home=tmp_path, **wrong)
    assert read_rollout(Platform(home=str(tmp_path)).models, "movies") is None
