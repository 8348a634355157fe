"""Recognition of yearly files by their names, folders included.

Names come with accents, composed or decomposed, with spaces, in any case, compressed, below folders by year, and for
several years (`usagers_2005_2016.csv`, or `usagers.csv` without any year), whose years are those of their rows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

_PUBLISHED: Final = re.compile(
    r"(caract(?:eristiques)?|carcteristiques|lieux|vehicules|usagers)[-_]20\d\d\.csv", re.IGNORECASE
)
_STEM: Final = re.compile(r"(?:(20\d\d)[-_ .]*)?(caract[a-z]*|carcteristiques|lieux|vehicules|usagers)(?![a-z])(.*)")
_YEAR: Final = re.compile(r"(?<!\d)(20\d\d)(?!\d)")
_ENDINGS: Final = (".csv.gz", ".csv.zip", ".csv", ".gz", ".zip")
_WORDS: Final = ("caracteristiques", "carcteristiques", "caract", "lieux", "vehicules", "usagers")
_SYSTEM_FILE: Final = re.compile(r"\._|~\$|\.~lock|\.DS_Store|__MACOSX")


@dataclass(frozen=True)
class NamedFile:
    """A yearly file by its name.

    Args:
        table: one of `TABLES`.
        year: the year of its rows; None: of several years, or of one that no name states.
        exact: it has the publisher's own name.
    """

    table: str
    year: int | None
    exact: bool


def fold(name: str) -> str:
    """A name in lower case without accents, composed or decomposed, and without no-break spaces."""
    text = unicodedata.normalize("NFKD", name)
    return "".join(letter for letter in text if not unicodedata.combining(letter)).lower()


def is_system_file(path: str) -> bool:
    """Whether a path is what an operating system leaves beside files (`._usagers-2023.csv`, `__MACOSX/…`)."""
    return any(_SYSTEM_FILE.match(part) for part in re.split(r"[/#]", path))


def parse_path(path: str) -> NamedFile | None:
    """Table and year of a file by its name and, where that has no year, by its folders; None for other files.

    Args:
        path: with `/` between folders and `#` before the member of an archive.
    """
    *folders, name = re.split(r"[/#]", fold(path).rstrip("/"))
    ending = next((ending for ending in _ENDINGS if name.endswith(ending)), None)
    match = _STEM.fullmatch(name.removesuffix(ending)) if ending and not is_system_file(path) else None
    if match is None:
        # The only file of usagers-2023.zip may have any name.
        archive = path.rpartition("#")[0]
        return parse_path(archive) if archive and ending else None
    before, stem, rest = match.groups()
    years = ([before] if before else []) + _YEAR.findall(rest)
    if rest and not re.match(r"[-_ .]*20\d\d(?!\d)", rest) and not (before and re.match(r"[-_ .(]", rest)):
        return None  # other words, such as vehicules-immatricules-baac-2023.csv, are the name of something else
    if not years:
        years = next((found for folder in reversed(folders) if (found := _YEAR.findall(folder))), [])
    table = "caracteristiques" if stem.startswith("car") else stem
    exact = bool(_PUBLISHED.fullmatch(re.split(r"[/#]", path)[-1]))
    return NamedFile(table, int(years[0]) if len(set(years)) == 1 else None, exact)


def parse_file_name(name: str) -> tuple[str, int, bool] | None:
    """Table and year of a file name, and whether it is exactly the publisher's name; None for other files.

    Accepts all published spellings: `caracteristiques_2016.csv`, `carcteristiques-2021.csv`, `caract-2024.csv`.
    """
    named = parse_path(name)
    return None if named is None or named.year is None else (named.table, named.year, named.exact)


def describe_near_miss(path: str) -> str | None:
    """Why a file that looks like a yearly file is not read, and the name that is expected; None for other files."""
    if is_system_file(path) or parse_path(path) is not None:
        return None
    name = re.split(r"[/#]", path)[-1]
    words = re.findall(r"[a-z]+", fold(name))
    close = [found for word in words[:4] if (found := get_close_matches(word, _WORDS, 1, 0.82))]
    if not close:
        return None
    table = "caract" if close[0][0].startswith("car") else close[0][0]
    if not fold(name).endswith(_ENDINGS):
        return f"{path} is not read: it is not a CSV file; save it as {table}-YYYY.csv"
    return f"{path} is not read: its name is not that of a yearly file; expected is {table}-YYYY.csv"


def list_near_misses(paths: Iterable[str], limit: int = 20) -> list[str]:
    """Near misses among paths, the number of further ones last."""
    found = [note for path in sorted(paths) if (note := describe_near_miss(path))]
    return found[:limit] + ([f"{len(found) - limit:,} more files are not read"] if len(found) > limit else [])


EXPECTED_FILES: Final = "caract…-YYYY.csv, lieux-YYYY.csv, vehicules-YYYY.csv and usagers-YYYY.csv of one year"
