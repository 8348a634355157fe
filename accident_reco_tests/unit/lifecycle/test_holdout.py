"""The frozen holdout: its hash by an independent implementation, its rows for ever, and the edges of a share."""

import numpy as np
import pytest

from accident_reco.lifecycle.holdout import (
    SALT,
    SHARE,
    hash_keys,
    hash_pairs,
    in_holdout,
    pairs_in_holdout,
    select_share,
)

HIGHEST = 2**64 - 1
PINNED_KEYS = [0, 24, 27, 30, 37]
PINNED_PAIRS = [6, 9, 16, 17, 23, 29, 34, 36, 37]
KEYS = [0, 1, 2, 202300000001, 2**63, HIGHEST]


def splitmix64(key: int, salt: int) -> int:
    """SplitMix64 in plain integers: the state is the key plus `salt` times the golden gamma."""
    z = (key + salt * 0x9E3779B97F4A7C15) & HIGHEST
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & HIGHEST
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & HIGHEST
    return z ^ (z >> 31)


@pytest.mark.parametrize("salt", [SALT, 1])
def test_hash_is_splitmix64(salt: int) -> None:
    """Every bit, of arrays and of a single key, without a warning of overflow; another salt is another split."""
    keys = np.array(KEYS, dtype=np.uint64)
    assert hash_keys(keys, salt).tolist() == [splitmix64(key, salt) for key in KEYS]
    assert int(hash_keys(np.uint64(HIGHEST), salt)) == splitmix64(HIGHEST, salt)
    expected = [splitmix64((splitmix64(key, salt) + HIGHEST - 7) & HIGHEST, salt) for key in KEYS]
    assert hash_pairs(keys, np.full(len(KEYS), HIGHEST - 7, dtype=np.uint64), salt).tolist() == expected
    assert int(hash_pairs(np.uint64(HIGHEST), np.uint64(HIGHEST - 7), salt)) == expected[-1]


def test_holdout_stays_the_same_for_ever() -> None:
    """Pinned rows: a change here would train on what older versions were evaluated on."""
    assert np.flatnonzero(in_holdout(np.arange(40))).tolist() == PINNED_KEYS
    assert np.flatnonzero(pairs_in_holdout(np.arange(40), np.arange(40) * 3)).tolist() == PINNED_PAIRS


def test_share_and_salt_select() -> None:
    """The share is met on many keys, a larger share contains a smaller one, and each argument reaches the hash."""
    keys = np.arange(20_000)
    for selected in (in_holdout, lambda k, *a, **o: pairs_in_holdout(k, k + 1, *a, **o)):
        assert selected(keys).mean() == pytest.approx(SHARE, abs=0.01)
        assert selected(keys, 0.5).mean() == pytest.approx(0.5, abs=0.01)
        assert not np.any(selected(keys) & ~selected(keys, 0.5))
        assert np.any(selected(keys, salt=1) != selected(keys))


@pytest.mark.parametrize(
    ("share", "highest_in", "lowest_out"),
    [(0.5, 2**63 - 1, 2**63), (0.25, 2**62 - 1, 2**62), (1.0, HIGHEST - 1, HIGHEST)],
)
def test_a_share_is_the_lowest_part_of_the_hash_range(share: float, highest_in: int, lowest_out: int) -> None:
    """The bound itself is out; a share of one leaves out the one hash that a 64-bit bound cannot be above."""
    assert select_share(np.array([0, highest_in, lowest_out], dtype=np.uint64), share).tolist() == [True, True, False]
    assert not select_share(np.array([0], dtype=np.uint64), 0.0).any()
