"""Trainings that would only repeat an earlier one are not started, and the reason is recorded."""

import pytest

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle import training_identity
from accident_reco.lifecycle.bundle import Bundle, canonical_json
from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.lifecycle.promotion import promote as promote_candidate
from accident_reco.lifecycle.training_identity import IDENTITY, compute_identity, describe_repetition
from accident_reco.models.accidents.data.raw_store import VICTIMS
from accident_reco.registry import get_model
from accident_reco.storage import retrain_decisions
from accident_reco.storage.lifecycle import record_promotion
from accident_reco.storage.work_requests import request_training, request_work, work_request
from accident_reco_tests.support.promotion import BETTER
from accident_reco_tests.support.small_loop import report, tick, traffic

POLICY = GatePolicy("roc_auc", True, floor=0.5, minimum_gain=0.0)


def store_year(platform: Platform, year: int) -> None:
    """Store the summary of a year, by which trainings know its data."""
    summary = {"an": year, "data_source": "sample", "victims_sha256": f"{year:064d}", "files": {}}
    platform.objects.write(f"{VICTIMS}/{year}.json", canonical_json(summary))


def identity(platform: Platform) -> str:
    model = get_model(platform.settings, "accidents")
    found = compute_identity(model, model.training().data_version(platform), platform.settings)
    assert found is not None
    return found


def candidate(identity: str | None, seed: int, roc_auc: float) -> Bundle:
    lineage = {"data_source": "sample", "sources": []} | ({} if identity is None else {IDENTITY: identity})
    return Bundle("accidents", {"reference.json": b"{}"}, {"seed": seed}, {"roc_auc": roc_auc}, lineage)


def decide(platform: Platform, bundle: Bundle, problems: tuple[str, ...] = ()) -> str:
    """Evaluate a candidate that is better than the champion in every way; returns its version."""
    outcome = promote_candidate(
        platform.models, platform.warehouse, bundle, lambda *_: BETTER, POLICY, f"run-{bundle.version}", problems
    )
    return outcome.version


def repetition(platform: Platform) -> str | None:
    """As a process that was just started: settings are read again."""
    fresh = Platform(home=platform.home)
    return describe_repetition(get_model(fresh.settings, "accidents"), fresh)


def test_the_champions_own_inputs_are_a_repetition(platform, monkeypatch) -> None:
    """Equal data, code and settings; whatever differs makes another training."""
    assert repetition(platform) is None  # no data
    store_year(platform, 2024)
    assert repetition(platform) is None  # the champion of an older release
    version = decide(platform, candidate(identity(platform), 7, 0.9))
    assert repetition(platform) == (
        f"data, code and settings are those of the champion {version}: a training would give the same version"
    )
    with monkeypatch.context() as patch:
        patch.setenv("ACCIDENT_RECO_ACCIDENTS_FOREST_TREES", "7")
        assert repetition(platform) is None
    with monkeypatch.context() as patch:
        patch.setenv("ACCIDENT_RECO_SEED", "8")
        assert repetition(platform) is None
    with monkeypatch.context() as patch:
        patch.setenv("ACCIDENT_RECO_DRIFT_SHARE", "0.4")
        assert repetition(platform) is not None
    with monkeypatch.context() as patch:
        patch.setattr(training_identity, "compute_code_version", lambda _package: "other code")
        assert repetition(platform) is None
    store_year(platform, 2023)
    assert repetition(platform) is None


def test_a_rejected_candidates_inputs_are_a_repetition_against_the_same_champion(platform) -> None:
    """The gate would reject it again; against another champion it may pass."""
    store_year(platform, 2024)
    rejected = candidate(identity(platform), 8, 0.9)
    decide(platform, rejected, problems=("2024 fails codes",))
    assert f"those of {rejected.version}, which the gate rejected: " in (repetition(platform) or "")
    decide(platform, candidate(None, 9, 0.95))
    assert repetition(platform) is None


def test_a_rolled_back_versions_inputs_are_a_repetition(platform) -> None:
    """It is blocked from promotion until a user returns to it."""
    store_year(platform, 2024)
    first = platform.models.pointer("accidents").version
    version = decide(platform, candidate(identity(platform), 10, 0.9))
    manifest = platform.models.manifest("accidents", first)
    pointer = platform.models.pointer("accidents")
    platform.models.point(manifest, expected=pointer, run_id="back", reason="rolled back")
    record_promotion(
        platform.warehouse,
        model="accidents",
        version=first,
        previous=version,
        action="rollback",
        promoted=True,
        reason="rolled back",
        detail={},
        run_id="back",
    )
    assert repetition(platform) == (
        f"data, code and settings are those of {version}, which was rolled back: the gate would reject it"
    )


@pytest.mark.parametrize("source", ["api", "alert", "drift"])
def test_a_request_for_a_repetition_is_held(definitions, instance, platform, source) -> None:
    """By users, alerts, and the policy itself where another training has ended since; new data lets it start."""
    store_year(platform, 2024)
    decide(platform, candidate(identity(platform), 7, 0.9))

    def request() -> str:
        if source == "api":
            return str(request_training(platform.warehouse, "accidents", "ada", "please")[0]["id"])
        arguments = {"kind": "training", "model": "accidents", "requested_by": "r", "reason": "r"}
        return str(request_work(platform.warehouse, source=source, **arguments)[0]["id"])

    request_id = request()
    result = tick(definitions, instance, "accidents_training_requests")
    assert not result.run_requests
    assert f"{source} {request_id[:8]}: held, data, code and settings are those of the champion" in result.skip_message
    held = work_request(platform.warehouse, request_id)
    assert held is not None
    assert (held["status"], held["run_id"]) == ("held", None)
    assert held["outcome"].endswith("a training would give the same version")
    if source != "drift":  # decided when it was queued
        assert retrain_decisions.decisions(platform.warehouse, "accidents")[0]["rule"] == "unchanged"
    store_year(platform, 2023)
    request()
    assert len(tick(definitions, instance, "accidents_training_requests").run_requests) == 1


def test_drift_without_new_data_starts_nothing(definitions, instance, platform) -> None:
    """Two windows with drift: the policy waits, with the reason, until there is something to learn from."""
    for seed in (2, 3):
        traffic(platform, shift=1, seed=seed)
        report(definitions, instance)
    store_year(platform, 2024)
    lineage = {"data_source": "sample", "sources": [], IDENTITY: identity(platform)}
    _, manifest = platform.models.champion("accidents")
    files = platform.models.files(manifest)
    # The champion of the reports, now with the identity of its training.
    platform.objects.delete(f"models/accidents/versions/{manifest.version}/manifest.json")
    again = platform.models.write(Bundle("accidents", files, manifest.signature, manifest.metrics, lineage))
    assert again.version == manifest.version
    platform.models.point(again, expected=platform.models.pointer("accidents"), run_id="test", reason="test")
    result = tick(definitions, instance, "drift_reports")
    assert "wait, data, code and settings are those of the champion" in result.skip_message
    (newest, *_) = retrain_decisions.decisions(platform.warehouse, "accidents")
    assert (newest["action"], newest["rule"], newest["request_id"]) == ("wait", "unchanged", None)
