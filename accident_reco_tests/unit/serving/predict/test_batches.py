"""Requests that wait at the same time are computed in one call; each gets what it would get alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from accident_reco_tests.support.rollout_jobs import METHOD, ONE, TWO, Inputs, Version, load
from serving.predict.batches import BATCH_ROWS, REQUEST_ROWS, Batches
from serving.predict.rollout.work import Division, Method, Work, merge_lists


def divide(result: Sequence[float], sizes: Sequence[int]) -> list[list[float]]:
    values = iter(result)
    return [[next(values) for _ in range(size)] for size in sizes]


TOGETHER: Method[Inputs, list[float]] = Method(
    METHOD.compute, METHOD.outcomes, merge_lists, division=Division(len, divide)
)


def compute_all(
    requests: Sequence[tuple[Any, Inputs]], method: Method[Inputs, list[float]] = TOGETHER
) -> list[list[float] | BaseException]:
    """Results of requests that arrive at the same time, or what they raise."""

    async def one(batches: Batches, version: Any, inputs: Inputs) -> list[float]:
        return (await batches.compute(version, Work(method, inputs)))()

    async def run() -> list[Any]:
        batches = Batches()
        return await asyncio.gather(*(one(batches, *request) for request in requests), return_exceptions=True)

    return asyncio.run(run())


def test_one_call_for_all_and_to_each_its_own() -> None:
    """Requests of one and of several rows, in one call of the model."""
    version = Version(10)
    champion = load(ONE, version)
    assert compute_all([(champion, [1.0]), (champion, [2.0, 3.0]), (champion, [4.0])]) == [[11.0], [12.0, 13.0], [14.0]]
    assert version.calls == [4]


def test_versions_are_not_mixed() -> None:
    """A rollout's challenger answers some of the requests: each version computes its own."""
    one, two = Version(10), Version(20)
    champion, challenger = load(ONE, one), load(TWO, two)
    assert compute_all([(champion, [1.0]), (challenger, [1.0]), (champion, [2.0]), (challenger, [2.0])]) == [
        [11.0],
        [21.0],
        [12.0],
        [22.0],
    ]
    assert one.calls == two.calls == [2]


def test_a_failure_is_that_of_one_request() -> None:
    """Where the common call fails, each request is computed by itself, and only the one at fault fails."""
    version = Version(10, fails=True)
    champion = load(ONE, version)
    first, second, third = compute_all([(champion, [1.0]), (champion, [-1.0]), (champion, [2.0])])
    assert (first, third) == ([11.0], [12.0])
    assert isinstance(second, RuntimeError)
    assert version.calls == [3, 1, 1, 1]


@pytest.mark.parametrize("inputs", [[1.0] * (REQUEST_ROWS + 1), []])
def test_what_is_computed_alone(inputs: Inputs) -> None:
    """A large request, and one without rows, which would have no part of its own."""
    version = Version(10)
    champion = load(ONE, version)
    assert compute_all([(champion, inputs), (champion, [1.0])])[0] == [value + 10 for value in inputs] or not inputs
    assert sorted(version.calls) == sorted([len(inputs), 1])


def test_a_method_that_cannot_divide_is_computed_alone() -> None:
    """Its requests are computed in the order in which they arrive."""
    version = Version(10)
    champion = load(ONE, version)
    assert compute_all([(champion, [1.0]), (champion, [2.0, 3.0])], METHOD) == [[11.0], [12.0, 13.0]]
    assert version.calls == [1, 2]


def test_a_batch_is_bounded() -> None:
    """More rows than a batch has are computed in several calls, between which others are handled."""
    version = Version(0)
    champion = load(ONE, version)
    rows = [[float(number)] for number in range(2 * BATCH_ROWS + 1)]
    assert compute_all([(champion, row) for row in rows]) == rows
    assert version.calls == [BATCH_ROWS, BATCH_ROWS, 1]


def test_who_gave_up_is_left_out() -> None:
    """A request that reached its time limit is not computed, and the others are."""
    version = Version(10)
    champion = load(ONE, version)

    async def run() -> list[float]:
        batches = Batches()
        compute: Callable[[Inputs], Awaitable[Any]] = lambda inputs: batches.compute(champion, Work(TOGETHER, inputs))  # noqa: E731
        given_up = asyncio.ensure_future(compute([1.0]))
        other = asyncio.ensure_future(compute([2.0]))
        await asyncio.sleep(0)
        given_up.cancel()
        return (await other)()

    assert asyncio.run(run()) == [12.0]
    assert version.calls == [1]


def test_a_loop_that_ended_leaves_nothing_behind() -> None:
    """Its requests are over; those of the next loop are computed."""
    version = Version(10)
    champion, batches = load(ONE, version), Batches()

    async def compute(number: float) -> list[float]:
        return (await batches.compute(champion, Work(TOGETHER, [number])))()

    async def leave() -> None:
        left = asyncio.ensure_future(compute(1.0))
        await asyncio.sleep(0)
        assert not left.done()
        asyncio.get_running_loop().stop()

    loop = asyncio.new_event_loop()
    task = loop.create_task(leave())
    loop.run_forever()
    assert task.done()
    loop.close()
    assert asyncio.run(compute(2.0)) == [12.0]
