"""Metrics of a training by step, and the samples of its process."""

from __future__ import annotations

import time

import numpy as np
import pytest

from accident_reco.lifecycle import process_sampler
from accident_reco.lifecycle.process_sampler import ProcessSampler
from accident_reco.lifecycle.training_history import merge_histories, number_steps


def test_candidates_have_sections_of_their_own() -> None:
    """MLflow groups charts by what is before the slash, and recognises system metrics by their prefix."""
    point = (1, 0.5, 7)
    merged = merge_histories(
        {"forest": {"roc_auc": [point]}, "boosting": {"system/cpu": [[1, 0.5, 7]]}}
    )  # as from JSON
    assert merged == {"forest/roc_auc": [point], "system/boosting/cpu": [point]}


def test_a_step_without_a_value_has_no_point() -> None:
    """JSON has no NaN; the steps after it keep their numbers."""
    assert [point[:2] for point in number_steps([0.1, float("nan"), 0.3])] == [(1, 0.1), (3, 0.3)]


def test_the_shortest_block_has_a_sample() -> None:
    """Taken at its end, with what the process used."""
    with ProcessSampler(seconds=60) as sampler:
        assert np.ones(1_000).sum() > 0
    history = sampler.history
    assert set(history) == {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
        "system/process_cpu_percentage",
        "system/process_memory_megabytes",
    }
    ((step, megabytes, when),) = history["system/process_memory_megabytes"]
    assert step == 1
    assert megabytes > 1
    assert abs(when / 1000 - time.time()) < 60


def test_a_long_block_has_a_bounded_number_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours of training are as many points as minutes, over the whole time."""
    monkeypatch.setattr(process_sampler, "MAX_SAMPLES", 8)
    deadline = time.monotonic() + 30
    with ProcessSampler(seconds=0.001) as sampler:
        started = time.time()
        while sampler.seconds < 0.008:  # halved three times
            assert time.monotonic() < deadline
            time.sleep(0.001)
    points = sampler.history["system/process_memory_megabytes"]
    assert 4 <= len(points) <= 9
    assert [step for step, _, _ in points] == list(range(1, len(points) + 1))
    times = [when for _, _, when in points]
    assert times == sorted(times)
    assert times[0] / 1000 <= started + 1
