"""The rating file and the movie file in a place: a directory, a folder below it, or a zip; compressed or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

FILE_PAIRS: Final = (
    ("ratings.csv", "movies.csv"),
    ("ratings.dat", "movies.dat"),
    ("u.data", "u.item"),
    ("rating.csv", "movie.csv"),
)
"""Rating file and movie file of each published set, newest format first."""
_SYSTEM: Final = ("._", "__MACOSX", ".~lock", "~$", ".DS_Store")


@dataclass(frozen=True)
class FoundPair:
    """Paths of the two files, and the names that they have in the published sets."""

    paths: tuple[str, str]
    names: tuple[str, str]


def _fold(path: str) -> str:
    """The published name of a path: without folders, `.gz`, and capitals."""
    return path.replace("#", "/").rsplit("/", 1)[-1].lower().removesuffix(".gz")


def find_pair(paths: Iterable[str]) -> FoundPair | None:
    """The two files of one set in one folder: the first pair of `FILE_PAIRS`, in the least deep folder."""
    by_folder: dict[str, dict[str, str]] = {}
    for path in sorted(paths, key=lambda path: (path.count("/"), len(path), path)):
        folder, _, name = path.replace("#", "/").rpartition("/")
        if not any(part.startswith(_SYSTEM) for part in (name, *folder.split("/"))):
            by_folder.setdefault(folder, {}).setdefault(_fold(path), path)
    for held in by_folder.values():
        for ratings, movies in FILE_PAIRS:
            if ratings in held and movies in held:
                return FoundPair((held[ratings], held[movies]), (ratings, movies))
    return None


def describe_expected() -> str:
    """The pairs of file names, for messages."""
    return " or ".join(f"{ratings} with {movies}" for ratings, movies in FILE_PAIRS)


def list_near_misses(paths: Iterable[str]) -> Mapping[str, str]:
    """Path → name that is expected instead, of files that are nearly named like those of a set."""
    names = [name for pair in FILE_PAIRS for name in pair]
    near = {}
    for path in sorted(paths):
        folded = _fold(path)
        close = get_close_matches(folded, names, 1, 0.75)
        if folded not in names and close:
            near[path] = close[0]
    return near
