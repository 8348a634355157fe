"""Exact path-dependent Shapley values of a tree ensemble, for any grouping of its features into players. Numpy only.

Lundberg et al. 2020, doi:10.1038/s42256-019-0138-9. For a leaf of value v whose path tests d players, player i gets
v·(oᵢ - zᵢ)·∫₀¹ Πⱼ≠ᵢ (zⱼ(1-u) + oⱼu) du: oⱼ is 1 where the row passes all tests on j, else 0, zⱼ is the share of
training rows that do, and the integral is the Shapley weighting (∫uᵏ(1-u)ᵈ⁻¹⁻ᵏdu = k!(d-1-k)!/d!). The integrand is a
polynomial of degree d-1: Gauss-Legendre quadrature with ⌈d/2⌉ nodes is exact.

The leaves of one node share all factors but that of the node's own test, so they are added before the product: with
values a, b and shares s, 1-s of the node's rows, the factor of its player is z(1-u)(sa + (1-s)b) + ou·(a or b).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.scoring.trees import Trees

ALWAYS: Final = 0
"""Number of the condition that every row satisfies."""
LEVELS: Final = (1, 5)


def find_parents(trees: Trees) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Parent node of every node and leaf (-1 for a root), and whether it is the low child."""
    n_nodes = len(trees.feature)
    parent = np.full(n_nodes + len(trees.value), -1, dtype=np.int64)
    came_low = np.zeros(len(parent), dtype=bool)
    for children, low in ((trees.low, True), (trees.high, False)):
        place = np.where(children >= 0, children, n_nodes + ~children)
        parent[place] = np.arange(n_nodes)
        came_low[place] = low
    return parent, came_low


class TreeShapley:
    """Shapley values of the players for single rows.

    Args:
        trees: the ensemble.
        player: number of the player that each feature belongs to, shape (features,).
    """

    def __init__(self, trees: Trees, player: NDArray[np.integer]) -> None:
        self._players = int(player.max()) + 1
        ends = np.flatnonzero((trees.low < 0) | (trees.high < 0))
        tests = _merge_tests(trees, ends)
        self._conditions = _Conditions(tests)
        end, of_player, condition, share = _merge_players(tests, player, self._conditions)
        self._groups = _group_ends(trees, ends, player, (end, of_player, condition, share))

    def values(self, row: NDArray[np.float32]) -> NDArray[np.float64]:
        """Shapley value of every player for one row of the feature matrix, shape (players,)."""
        satisfied = self._conditions.evaluate(row)
        total = np.zeros(self._players)
        for group in self._groups:
            group.add_values(row, satisfied, total)
        return total


@dataclass(frozen=True)
class _Tests:
    """Merged tests of the path to each end by feature, flat: missing or in (above, upto]; share of rows that pass."""

    end: NDArray[np.int64]
    feature: NDArray[np.int64]
    above: NDArray[np.float32]
    upto: NDArray[np.float32]
    missing: NDArray[np.bool_]
    share: NDArray[np.float64]


def _merge_tests(trees: Trees, ends: NDArray[np.int64]) -> _Tests:
    """Tests on the paths from the roots to the nodes `ends`, without the tests of these nodes themselves."""
    parent, came_low = find_parents(trees)
    here, end = ends, np.arange(len(ends))
    steps: list[tuple[NDArray[Any], ...]] = []
    while len(here):
        node, low = parent[here], came_low[here]
        inside = node >= 0
        here, end, node, low = here[inside], end[inside], node[inside], low[inside]
        threshold = trees.threshold[node]
        above, upto = np.where(low, np.float32(-np.inf), threshold), np.where(low, threshold, np.float32(np.inf))
        share = trees.node_cover[here] / trees.node_cover[node]
        steps.append((end, trees.feature[node].astype(np.int64), above, upto, trees.missing_low[node] == low, share))
        here = node
    end, feature, above, upto, missing, share = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    order = np.lexsort((feature, end))
    end, feature = end[order], feature[order]
    first = _find_first(end, feature)
    return _Tests(
        end[first],
        feature[first],
        np.maximum.reduceat(above[order], first) if len(first) else above,
        np.minimum.reduceat(upto[order], first) if len(first) else upto,
        np.logical_and.reduceat(missing[order], first) if len(first) else missing,
        np.multiply.reduceat(share[order], first) if len(first) else share,
    )


def _find_first(*keys: NDArray[Any]) -> NDArray[np.int64]:
    """Positions at which the sorted keys change, the first position included."""
    changes = np.zeros(max(len(keys[0]) - 1, 0), dtype=bool)
    for key in keys:
        changes |= np.diff(key) != 0
    return np.flatnonzero(np.append(True, changes)[: len(keys[0])])


class _Conditions:
    """Numbered conditions on a row: the always satisfied one, single tests, and conjunctions of earlier conditions."""

    def __init__(self, tests: _Tests) -> None:
        table = np.stack([tests.feature, tests.above, tests.upto, tests.missing], axis=1, dtype=np.float64)
        single, self.of_test = np.unique(table, axis=0, return_inverse=True)
        self.of_test = self.of_test.reshape(-1) + 1
        self._feature = single[:, 0].astype(np.int64)
        self._above, self._upto = single[:, 1].astype(np.float32), single[:, 2].astype(np.float32)
        self._missing = single[:, 3].astype(bool)
        self._joined: list[NDArray[np.int64]] = []
        self._count = len(single) + 1

    def join(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of the conjunctions of pairs of conditions, shape (n,)."""
        pairs, number = np.unique(np.stack([left, right], axis=1), axis=0, return_inverse=True)
        self._joined.append(pairs.T)
        start, self._count = self._count, self._count + len(pairs)
        return number.reshape(-1) + start

    def evaluate(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        """1 where the row satisfies a condition, else 0, by number, shape (conditions,)."""
        values = row[self._feature]
        passes = (values > self._above) & (values <= self._upto)
        passes |= np.isnan(values) & self._missing
        satisfied = np.concatenate([np.ones(1, dtype=bool), passes])
        for left, right in self._joined:
            satisfied = np.concatenate([satisfied, satisfied[left] & satisfied[right]])
        return satisfied.astype(np.float32)


def _merge_players(
    tests: _Tests, player: NDArray[np.integer], conditions: _Conditions
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Flat arrays by (end, player): end, player, number of the condition, share of rows that satisfy it."""
    of_player = player[tests.feature].astype(np.int64)
    order = np.lexsort((of_player, tests.end))
    end, of_player = tests.end[order], of_player[order]
    number, share = conditions.of_test[order], tests.share[order]
    first = _find_first(end, of_player)
    length = np.diff(np.append(first, len(end)))
    condition = number[first]
    for extra in range(1, int(length.max(initial=0))):
        more = np.flatnonzero(length > extra)
        condition[more] = conditions.join(condition[more], number[first[more] + extra])
    return end[first], of_player[first], condition, np.multiply.reduceat(share, first) if len(first) else share


def _group_ends(
    trees: Trees,
    ends: NDArray[np.int64],
    player: NDArray[np.integer],
    merged: tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]],
) -> list[_Group]:
    """Ends by the number of tests before them, in steps of two, for which quadrature has as many nodes.

    Groups at both ends have few members: a group costs as much as some thousand tests, so they are joined to the next.
    """
    end, of_player, condition, share = merged
    own_player = player[trees.feature[ends]].astype(np.int64)
    own = of_player == own_player[end]
    own_condition, own_share = np.full(len(ends), ALWAYS), np.ones(len(ends))
    own_condition[end[own]], own_share[end[own]] = condition[own], share[own]
    end, of_player, condition, share = (part[~own] for part in (end, of_player, condition, share))
    count = np.bincount(end, minlength=len(ends))
    start = np.cumsum(count) - count
    slot = np.arange(len(end)) - start[end]
    groups = []
    level = np.clip(count // 2, *LEVELS)
    for chosen in (np.flatnonzero(level == one) for one in np.unique(level)):
        rows = int(count[chosen].max())
        # Slots that an end does not use belong to no player: a condition that every row satisfies changes nothing.
        table = (np.zeros((rows, len(chosen)), dtype=np.int64), np.full((rows, len(chosen)), ALWAYS))
        shares = np.ones((rows, len(chosen)), dtype=np.float32)
        place = np.full(len(ends), -1)
        place[chosen] = np.arange(len(chosen))
        mine = place[end] >= 0
        at = (slot[mine], place[end[mine]])
        table[0][at], table[1][at], shares[at] = of_player[mine], condition[mine], share[mine]
        last = _Last.build(trees, ends[chosen], own_player[chosen], own_condition[chosen], own_share[chosen])
        groups.append(_Group(rows // 2 + 1, *table, shares, last))
    return groups


@dataclass(frozen=True)
class _Last:
    """The test of each end itself, shape (ends,); a child that is no leaf has value 0, its leaves being other ends.

    `mean` is the share of training rows that satisfy the player's condition on the path, times their mean value.
    """

    player: NDArray[np.int64]
    condition: NDArray[np.int64]
    mean: NDArray[np.float32]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    missing_low: NDArray[np.bool_]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    @classmethod
    def build(
        cls,
        trees: Trees,
        nodes: NDArray[np.int64],
        player: NDArray[np.int64],
        condition: NDArray[np.int64],
        share: NDArray[np.float64],
    ) -> _Last:
        total, values = np.zeros(len(nodes)), []
        for child in (trees.low[nodes], trees.high[nodes]):
            leaf = np.where(child < 0, ~child, 0)
            value = np.where(child < 0, trees.value[leaf], 0.0)
            total += value * trees.leaf_cover[leaf] / trees.node_cover[nodes]
            values.append(value.astype(np.float32))
        return cls(
            player,
            condition,
            (share * total).astype(np.float32),
            trees.feature[nodes].astype(np.int64),
            trees.threshold[nodes],
            trees.missing_low[nodes],
            *values,
        )

    def evaluate(self, row: NDArray[np.float32], satisfied: NDArray[np.float32]) -> NDArray[np.float32]:
        """Value of the leaf that the row reaches, 0 where it fails the player's condition or reaches no leaf."""
        values = row[self.feature]
        low = (values <= self.threshold) | (np.isnan(values) & self.missing_low)
        return satisfied[self.condition] * np.where(low, self.low, self.high)


class _Group:
    """Ends of one quadrature; `player`, `condition` and `share` have shape (tests, ends)."""

    def __init__(
        self,
        nodes: int,
        player: NDArray[np.int64],
        condition: NDArray[np.int64],
        share: NDArray[np.float32],
        last: _Last,
    ) -> None:
        self._player, self._condition, self._share, self._last = player.ravel(), condition, share, last
        places, weights = np.polynomial.legendre.leggauss(nodes)
        self._nodes = [((node + 1) / 2, weight / 2) for node, weight in zip(places.tolist(), weights, strict=True)]

    def add_values(self, row: NDArray[np.float32], satisfied: NDArray[np.float32], total: NDArray[np.float64]) -> None:
        """Add the values of these ends to `total`, shape (players,)."""
        share, mean = self._share, self._last.mean
        step = satisfied.take(self._condition)
        step -= share
        last_step = self._last.evaluate(row, satisfied)
        last_step -= mean
        integral, last_integral = np.zeros_like(step), np.zeros_like(mean)
        # In place: new arrays for every node would cost more than the arithmetic.
        term, product, factor = np.empty_like(step), np.empty_like(mean), np.empty_like(mean)
        for node, weight in self._nodes:
            np.multiply(step, np.float32(node), out=term)
            term += share
            np.multiply.reduce(term, axis=0, out=product)
            product *= np.float32(weight)
            last_integral += product
            np.multiply(last_step, np.float32(node), out=factor)
            factor += mean
            product *= factor
            integral += np.divide(product, term, out=term)
        integral *= step
        last_integral *= last_step
        total += np.bincount(self._player, weights=integral.ravel(), minlength=len(total))
        total += np.bincount(self._last.player, weights=last_integral, minlength=len(total))
