"""When a share counts: a larger one at the same moment in all processes."""

from __future__ import annotations

from dataclasses import replace

from accident_reco_tests.support.rollout_jobs import Version, running


def test_a_share_counts_from_its_moment_on() -> None:
    shadow = running(Version(0.25))
    state = replace(shadow.state, mode="canary", steps=(0.01, 0.1, 0.5), share=0.1)
    canary = replace(shadow, state=state, effective_from=100.0)
    assert [canary.share(now) for now in (99.9, 100.0, 200.0)] == [0.01, 0.1, 0.1]
    first = replace(canary, state=replace(state, share=0.01))
    assert [first.share(now) for now in (99.9, 100.0)] == [0.0, 0.01]
    assert shadow.share(0.0) == 0.0
