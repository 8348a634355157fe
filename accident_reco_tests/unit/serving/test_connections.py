"""Which connections stay open: the table's rules, without a network."""

from __future__ import annotations

import pytest

from serving.common.connections import HEADROOM, ConnectionLimits, ConnectionTable


class Connection:
    """Remembers whether it was closed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.is_closed = False

    def close_idle(self) -> None:
        self.is_closed = True


class World:
    """A table with 4 connections an address and 8 in all; `proxy` may have all 8."""

    def __init__(self) -> None:
        self.table = ConnectionTable(ConnectionLimits(8, 4, frozenset({"proxy"})))
        self.open: list[Connection] = []

    def connect(self, address: str, count: int = 1, busy: bool = False) -> list[Connection]:
        new = [Connection(address) for _ in range(count)]
        for connection in new:
            assert self.table.add(connection, address)
            if busy:
                self.table.begin(connection, address)
        return new


@pytest.fixture
def world() -> World:
    return World()


def closed(connections: list[Connection]) -> list[bool]:
    return [connection.is_closed for connection in connections]


def test_the_longest_idle_connection_of_the_same_address_is_closed(world: World) -> None:
    """Another address loses nothing."""
    other = world.connect("b", 2)
    own = world.connect("a", 6)
    assert closed(own) == [True, True, False, False, False, False]
    assert closed(other) == [False, False]


def test_a_used_connection_counts_as_idle_from_its_last_request(world: World) -> None:
    """The first one was used last, so the second one goes first."""
    own = world.connect("a", 4)
    assert world.table.begin(own[0], "a")
    world.table.end(own[0], "a")
    world.connect("a")
    assert closed(own) == [False, True, False, False]


def test_connections_in_use_are_never_closed(world: World) -> None:
    """New ones beyond them are accepted, so that their requests can be refused in words, up to a bound."""
    used = world.connect("a", 4, busy=True)
    extra = Connection("a")
    assert world.table.add(extra, "a")
    assert not world.table.begin(extra, "a"), "a fifth request of the address is in progress"
    for _ in range(HEADROOM - 1):
        more = Connection("a")
        assert world.table.add(more, "a")
        world.table.begin(more, "a")
    assert not world.table.add(Connection("a"), "a")
    assert closed(used) == [False] * 4


def test_the_longest_idle_connection_of_all_is_closed(world: World) -> None:
    """Many addresses: the total is bounded."""
    first, second = world.connect("a", 2)
    rest = [world.connect(f"c{i}")[0] for i in range(7)]
    assert (first.is_closed, second.is_closed) == (True, False)
    assert not any(closed(rest))


def test_requests_of_all_addresses_are_bounded(world: World) -> None:
    """The ninth request in progress is refused; after one has ended, the next is admitted."""
    used = [world.connect(f"c{i}", busy=True)[0] for i in range(8)]
    (ninth,) = world.connect("x")
    assert not world.table.begin(ninth, "x")
    world.table.remove(ninth, "x")
    world.table.remove(used[0], "c0")
    (tenth,) = world.connect("y")
    assert world.table.begin(tenth, "y")


def test_a_proxy_has_the_limit_of_all(world: World) -> None:
    """It forwards for many clients."""
    assert closed(world.connect("proxy", 8)) == [False] * 8
    assert not any(closed(world.connect("proxy", 0)))


def test_one_connection_at_most_is_closed_for_a_new_one(world: World) -> None:
    """Both limits are reached at once: the one of the address makes room for both."""
    others = world.connect("b", 4)
    own = world.connect("a", 5)
    assert closed(own) == [True, False, False, False, False]
    assert not any(closed(others))


def test_nothing_is_kept_of_closed_connections(world: World) -> None:
    """Also when they are removed twice, by the table and by their end."""
    everything = world.connect("a", 6) + world.connect("b", 2, busy=True)
    for connection in everything:
        world.table.remove(connection, connection.address)
    assert not world.table._idle
    assert not world.table._used
    assert not world.table._all_idle
    assert world.table._n_used == 0
