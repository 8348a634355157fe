"""Detection of accidents that were published more than once, by content, independently of their numbers.

Pure functions over victims frames. Consequences for training and evaluation are in `find_excluded_accidents`, those for
a year in `checks`; stored years are read in `raw_store`.

An accident has several content keys, each a hash of other columns; two accidents with an equal key are duplicates. Any
two columns may be rewritten, rounded or blanked and one key is still equal (tested). No key contains the year, a number
or an id, so that a year republished as another one is detected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.lifecycle.holdout import hash_keys, in_holdout


@dataclass(frozen=True)
class ContentKey:
    """Columns of the accident, and columns of its road users, which are compared as a multiset."""

    accident: tuple[str, ...]
    users: tuple[str, ...]


_PERSON: Final = ("sexe", "an_nais")
_CIRCUMSTANCES: Final = ("lum", "agg", "int", "atm", "col", "catr", "circ", "surf", "plan", "situ", "vma")
_CONDUCT: Final = ("place", "trajet", "secu1", "catv", "manv", "choc", "obs", "obsm")
CONTENT_KEYS: Final = MappingProxyType(
    {
        "road users of a day": ContentKey(("mois", "jour", "com"), _PERSON),
        "road users of a minute": ContentKey(("hrmn", "lat", "long"), _PERSON),
        "road users at a place": ContentKey(("lat", "long"), (*_PERSON, "grav", "catv", "manv", "choc")),
        "outcomes of a minute": ContentKey(("mois", "jour", "hrmn", "lat", "long", "nb_vehicles"), ("grav",)),
        "circumstances of a day": ContentKey(("mois", "jour", "com", *_CIRCUMSTANCES), _CONDUCT),
        "circumstances of a minute": ContentKey(
            ("hrmn", *_CIRCUMSTANCES, "nbv", "vosp", "prof", "infra"),
            (*_CONDUCT, "grav", "secu2", "secu3", "locp", "actp", "etatp", "senc", "motor"),
        ),
    }
)
_ACCIDENT_COLUMNS: Final = tuple(dict.fromkeys(name for key in CONTENT_KEYS.values() for name in key.accident))
_USER_COLUMNS: Final = tuple(dict.fromkeys(name for key in CONTENT_KEYS.values() for name in key.users))
COLUMNS: Final = ("Num_Acc", "an", *_ACCIDENT_COLUMNS, *_USER_COLUMNS)
# A key does not apply to an accident where one of its columns among these is unknown, or all birth years are.
_REQUIRED: Final = frozenset({"mois", "jour", "hrmn", "com", "lat", "long"})
# Cells of about a kilometre: coordinates may have been rounded.
_CELLS_PER_DEGREE: Final = 100
MAX_EXAMPLES: Final = 3


@dataclass(frozen=True)
class AccidentContents:
    """Accidents by ascending number, shape (n,), and their content keys, shape (n, len(CONTENT_KEYS)), 0 = unknown."""

    number: NDArray[np.int64]
    year: NDArray[np.int64]
    hashes: NDArray[np.uint64]

    @classmethod
    def from_victims(cls, victims: pd.DataFrame) -> AccidentContents:
        """Contents of the accidents of a victims frame with `COLUMNS` and one row per road user."""
        number = victims["Num_Acc"].to_numpy(dtype=np.int64)
        order = np.argsort(number, kind="stable")
        number = number[order]
        first = np.flatnonzero(np.diff(number, prepend=-1))
        if not len(first):
            return NO_CONTENTS
        accidents = {name: victims[name].to_numpy()[order[first]] for name in _ACCIDENT_COLUMNS}
        users = {name: victims[name].to_numpy()[order] for name in _USER_COLUMNS}
        filled = {name: _is_known(accidents[name]) for name in _REQUIRED}
        filled["an_nais"] = np.add.reduceat(_is_known(users["an_nais"]).astype(np.int64), first) > 0
        of_accident = {name: _to_words(values) for name, values in accidents.items()}
        of_user = {name: _to_words(values) for name, values in users.items()}
        hashes = np.empty((len(first), len(CONTENT_KEYS)), dtype=np.uint64)
        for position, key in enumerate(CONTENT_KEYS.values()):
            # A sum, which wraps around, does not depend on the order of the road users.
            together = np.add.reduceat(_hash_rows([of_user[name] for name in key.users]), first)
            hashed = _hash_rows([*(of_accident[name] for name in key.accident), together])
            known = np.logical_and.reduce([filled[name] for name in (*key.accident, *key.users) if name in filled])
            hashes[:, position] = np.where(known, hashed, 0)
        return cls(number[first], victims["an"].to_numpy(dtype=np.int64)[order[first]], hashes)

    @classmethod
    def concatenate(cls, parts: Iterable[AccidentContents]) -> AccidentContents:
        """Contents of the accidents of all parts."""
        listed = [NO_CONTENTS, *parts]
        number = np.concatenate([part.number for part in listed])
        order = np.argsort(number, kind="stable")
        year, hashes = (np.concatenate([getattr(part, name) for part in listed]) for name in ("year", "hashes"))
        return cls(number[order], year[order], hashes[order])


NO_CONTENTS: Final = AccidentContents(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, len(CONTENT_KEYS)), dtype=np.uint64)
)


@dataclass(frozen=True)
class Duplicates:
    """Accidents of a year with the content of another one.

    Args:
        accidents: their number.
        by_year: year of the other accident → number.
        examples: (accident number, number of the other, year of the other).
    """

    accidents: int
    by_year: Mapping[int, int]
    examples: Sequence[tuple[int, int, int]]


def find_excluded_accidents(contents: AccidentContents) -> NDArray[np.int64]:
    """Numbers of the accidents that are used neither for training nor for evaluation, shape (m,), ascending.

    The hash of the number determines the holdout. Of equal accidents only the lowest number is used. A content that is
    in the holdout under any number is never trained on: where its lowest number is not in the holdout, it is not used
    at all, since a version may have been trained on it before the others were published.
    """
    held_out = in_holdout(contents.number)
    excluded = np.zeros(len(contents.number), dtype=bool)
    for rows, group in _iterate_duplicate_groups(contents):
        held = np.bincount(group, weights=held_out[rows]) > 0
        excluded[rows] |= pd.Series(group).duplicated().to_numpy() | (held[group] & ~held_out[rows])
    return contents.number[excluded]


def find_duplicates_by_year(contents: AccidentContents) -> dict[int, Duplicates]:
    """Year → duplicates, for every year that has any."""
    other = np.full(len(contents.number), -1, dtype=np.int64)
    for rows, group in _iterate_duplicate_groups(contents):
        order = np.argsort(group, kind="stable")
        start = np.flatnonzero(np.diff(group[order], prepend=-1))
        # Every accident is paired with the next one of its group, the last with the first.
        following = np.arange(1, len(rows) + 1)
        following[np.append(start[1:], len(rows)) - 1] = start
        rows = rows[order]
        other[rows] = np.where(other[rows] < 0, rows[following], other[rows])
    found = {}
    for year in np.unique(contents.year[other >= 0]).tolist():
        at = np.flatnonzero((other >= 0) & (contents.year == year))
        of_year = contents.year[other[at]]
        years, counts = np.unique(of_year, return_counts=True)
        shown = at[of_year == years[np.argmax(counts)]][:MAX_EXAMPLES]
        pairs = zip(contents.number[shown], contents.number[other[shown]], contents.year[other[shown]], strict=True)
        by_year = dict(zip(years.tolist(), counts.tolist(), strict=True))
        found[year] = Duplicates(len(at), by_year, [(int(a), int(b), int(an)) for a, b, an in pairs])
    return found


def _iterate_duplicate_groups(contents: AccidentContents) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Per content key the rows, ascending, that share it with another row, and the group of each; shape (m,)."""
    for key in contents.hashes.T:
        rows = np.flatnonzero(key)
        rows = rows[pd.Series(key[rows]).duplicated(keep=False).to_numpy()]
        if len(rows):
            yield rows, pd.factorize(key[rows])[0]


def _hash_rows(columns: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """Hash of each row of several columns, shape (n,); depends on the order of the columns."""
    total = np.zeros_like(columns[0])
    for salt, column in enumerate(columns, 1):
        total = hash_keys(total ^ column, salt)
    return total


def _to_words(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Values as 64-bit words, shape (n,), equal for equal values of any integer width; reals by cell."""
    if values.dtype.kind == "f":
        cells = np.floor(values * _CELLS_PER_DEGREE + 0.5)
        return np.nan_to_num(cells, nan=-1e9).astype(np.int64).view(np.uint64)
    if values.dtype.kind in "iu":
        return values.astype(np.int64).view(np.uint64)
    codes, texts = pd.factorize(values)
    return pd.util.hash_array(np.append(np.asarray(texts, dtype=object), ""))[codes]


def _is_known(values: NDArray[Any]) -> NDArray[np.bool_]:
    return values >= 0 if values.dtype.kind in "iu" else pd.notna(values)
