"""The frozen holdout: rows selected by the hash of a key, so that they never change."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SHARE = 0.2
SALT = 0x5AFE_ACC1


def hash_keys(keys: npt.ArrayLike, salt: int = SALT) -> npt.NDArray[np.uint64]:
    """Uniform 64-bit hash of integer keys, shape (n,) (SplitMix64, Steele et al. 2014, doi:10.1145/2714064.2660195)."""
    with np.errstate(over="ignore"):
        z = np.asarray(keys).astype(np.uint64) + np.uint64((salt * 0x9E3779B97F4A7C15) & 0xFFFF_FFFF_FFFF_FFFF)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def hash_pairs(first: npt.ArrayLike, second: npt.ArrayLike, salt: int = SALT) -> npt.NDArray[np.uint64]:
    """Hash of pairs of integer keys, such as user and item, shape (n,)."""
    with np.errstate(over="ignore"):
        return hash_keys(hash_keys(first, salt) + np.asarray(second).astype(np.uint64), salt)


def in_holdout(keys: npt.ArrayLike, share: float = SHARE, salt: int = SALT) -> npt.NDArray[np.bool_]:
    """Whether each key is in the holdout, shape (n,); no version trains on these. Rows of one key stay together."""
    return select_share(hash_keys(keys, salt), share)


def pairs_in_holdout(
    first: npt.ArrayLike, second: npt.ArrayLike, share: float = SHARE, salt: int = SALT
) -> npt.NDArray[np.bool_]:
    """Whether each pair of keys is in the holdout, shape (n,)."""
    return select_share(hash_pairs(first, second, salt), share)


def select_share(hashes: npt.NDArray[np.uint64], share: float) -> npt.NDArray[np.bool_]:
    """Whether each hash is in the lowest `share` of the range, shape (n,)."""
    return hashes < np.uint64(min(int(share * 2.0**64), 2**64 - 1))
