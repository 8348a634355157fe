"""The forms that values of a file may have besides the published ones, recognised by the file's own values.

Since 2019 coordinates are in degrees, widths in metres, `dep` and `com` are INSEE codes (59, 59350). Until 2018
coordinates are times 100,000, widths in decimetres, `dep` is followed by a 0 (590) and `com` is the last three digits
(350). Files that were cleaned have today's forms in the old layout, or the old ones in the new layout.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook.notation import parse_number
from accident_reco.models.accidents.data.eras import FEW_ROWS, Era, iterate_texts
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.reading import RawTable, UnreadableFile

WIDE_ROAD: Final = 20.0
"""Metres. Published carriageways are wider in 0.2 % of the rows; in decimetres 98 % of the numbers are larger."""
MIN_SHARE: Final = 0.8
"""Share of a file's values that must be of another form than the published one to be read in that form."""
MIN_WIDTHS: Final = 3
MIN_WIDE_ROADS: Final = 20
"""So many widths must be above `WIDE_ROAD` to be decimetres in the layout since 2019, where wide roads exist."""
MAX_TEXTS: Final = 5_000
"""Distinct numbers of a column, the first of the file, that show its form."""
MAX_MIXED: Final = 0.02
"""Largest share of rows in which `dep` or `com` may be of another form than in the rest of the file."""
MAX_APART: Final = 0.2
"""Largest share of rows whose `com` may begin with another department than `dep`."""
_OVERSEAS: Final = range(971, 990)
_CORSICA: Final = {201: "2A", 202: "2B"}
_DEPARTMENT: Final = re.compile(r"0[1-9]|[1-8]\d|9[0-5]|2A|2B|9[78]\d")
_COMMUNE: Final = re.compile(r"\d[\dAB]\d{3}")


@dataclass(frozen=True)
class Forms:
    """How the values of one file are read.

    Args:
        degrees: factor from published coordinates to degrees.
        metres: factor from published widths to metres.
        zero_follows: `dep` is followed by a 0.
    """

    degrees: float = 1.0
    metres: float = 1.0
    zero_follows: bool = False

    def select_layout(self, column: str, era: Era) -> Era:
        """The era whose layout a column has."""
        if column in ("larrout", "lartpc"):
            return "since_2019" if self.metres == 1 else "until_2018"
        return era


PUBLISHED: Final[Mapping[Era, Forms]] = {"since_2019": Forms(), "until_2018": Forms(1e-5, 0.1, True)}


def detect_forms(raw: RawTable, era: Era, notes: Quarantine) -> Forms:
    """The forms of a file; each that differs from the published one of its era is added to `notes`.

    Raises:
        UnreadableFile: `dep` has two forms in one file, or `dep` and `com` do not belong together.
    """
    published = PUBLISHED[era]
    if raw.table == "lieux":
        forms = Forms(metres=_detect_width_factor(raw, published.metres))
        if forms.metres != published.metres:
            unit = "metres" if forms.metres == 1 else "decimetres"
            _note(raw, "larrout", f"widths are in {unit}, unlike in the published files of these years", notes)
        return Forms(published.degrees, forms.metres, published.zero_follows)
    if raw.table != "caracteristiques":
        return published
    degrees = _detect_degree_factor(raw, published.degrees)
    if degrees != published.degrees:
        unit = "degrees" if degrees == 1 else "degrees times 100,000"
        _note(raw, "lat", f"coordinates are in {unit}, unlike in the published files of these years", notes)
    zero_follows = _detect_department_form(raw, published.zero_follows)
    if zero_follows != published.zero_follows:
        form = "followed by a 0 (590)" if zero_follows else "an INSEE code (59)"
        _note(raw, "dep", f"departments are {form}, unlike in the published files of these years", notes)
    return Forms(degrees, published.metres, zero_follows)


def _note(raw: RawTable, column: str, what: str, notes: Quarantine) -> None:
    line, text = _find_first(raw, column)
    notes.add("other_form", raw.table, raw.file, [line], "", [""], f"({column} = {text}): {what}")


def _find_first(raw: RawTable, column: str, texts: frozenset[str] | None = None) -> tuple[int, str]:
    """Line and text of the first cell with a value, or with one of `texts`."""
    cells = raw.columns[column]
    wanted = texts or frozenset(text for text, _ in iterate_texts(cells) if parse_number(text) != 0)
    row = next((row for row in range(len(cells)) if cells[row].as_py().strip() in wanted), 0)
    return int(raw.line[row]), cells[row].as_py().strip()


def _list_numbers(column: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distinct positive magnitudes of a column and the number of their rows."""
    texts = islice(iterate_texts(column), MAX_TEXTS)
    found = [(abs(number), count) for text, count in texts if (number := parse_number(text))]
    values = [(number, count) for number, count in found if number not in (0.0, 1.0)]
    return np.array([number for number, _ in values]), np.array([count for _, count in values], dtype=np.int64)


def _detect_degree_factor(raw: RawTable, published: float) -> float:
    """1 if coordinates are in degrees, 1e-5 if they are times 100,000 (no latitude is above 90 degrees)."""
    if "lat" not in raw.columns:
        return published
    values, counts = _list_numbers(raw.columns["lat"])
    if not counts.sum():
        return published
    scaled = counts[values > 90].sum() / counts.sum()
    return 1e-5 if scaled >= MIN_SHARE else 1.0 if scaled <= 1 - MIN_SHARE else published


def _detect_width_factor(raw: RawTable, published: float) -> float:
    """1 if widths of carriageways are in metres, 0.1 if in decimetres, which are whole numbers."""
    if "larrout" not in raw.columns:
        return published
    values, counts = _list_numbers(raw.columns["larrout"])
    if counts.sum() < MIN_WIDTHS:
        return published
    wide = counts[values > WIDE_ROAD].sum() / counts.sum()
    fractions = bool((values % 1 > 0).any())
    if published == 1.0:
        return 0.1 if wide >= MIN_SHARE and not fractions and counts.sum() >= MIN_WIDE_ROADS else 1.0
    return 1.0 if wide <= 1 - MIN_SHARE and fractions else 0.1


def _detect_department_form(raw: RawTable, published: bool) -> bool:
    """Whether `dep` is followed by a 0: by departments that only one form has, else by the communes beside them.

    Raises:
        UnreadableFile: departments of both forms.
    """
    votes = {True: 0, False: 0}
    texts: dict[bool, set[str]] = {True: set(), False: set()}
    for text, count in iterate_texts(raw.columns["dep"]):
        form = _form_of_department(text)
        if form is not None:
            votes[form] += count
            texts[form].add(text)
    if all(votes.values()):
        few = min(votes, key=lambda form: votes[form])
        if votes[few] > max(MAX_MIXED * sum(votes.values()), FEW_ROWS):
            line, text = _find_first(raw, "dep", frozenset(texts[few]))
            usual = sorted(texts[not few])[0]
            forms = ("an INSEE code", "an INSEE code followed by a 0")
            raise UnreadableFile(
                f"{raw.file} line {line}: dep = {text} is {forms[few]} where most departments of the file are "
                f"{forms[not few]} ({usual}): {votes[few]:,} of {sum(votes.values()):,} rows. Departments of one file "
                "have one form. Fix: use the file as published, or write all departments in one form"
            )
        return not few
    if any(votes.values()):
        return votes[True] > 0
    return _detect_form_by_commune(raw, published)


def _form_of_department(text: str) -> bool | None:
    """True: followed by a 0 (590, 201); False: INSEE code (59, 2A); None: either (10 to 90 by ten, 971) or neither."""
    number = parse_number(text)
    if number is None:
        return False if text.strip().lstrip("0").upper() in ("2A", "2B") else None
    if number in _OVERSEAS or number != int(number) or not 1 <= number <= 969:
        return None
    code = int(number)
    if code in _CORSICA or (code >= 100 and code % 10 == 0):
        return True
    return False if code <= 95 and code % 10 else None


def _detect_form_by_commune(raw: RawTable, published: bool) -> bool:
    """The form of departments that are 10 to 90 by ten throughout: INSEE codes of communes begin with theirs."""
    located = [(dep, com, count) for dep, com, count in _iterate_locations(raw) if dep is not None and com is not None]
    whole = [(dep, com, count) for dep, com, count in located if dep <= 95 and com > 999]
    insee = sum(count for dep, com, count in whole if com // 1000 == dep)
    zero = sum(count for dep, com, count in whole if com // 1000 * 10 == dep)
    return published if insee == zero else zero > insee


def _iterate_locations(raw: RawTable) -> Iterator[tuple[int | None, int | None, int]]:
    """Distinct (dep, com) as whole numbers, None where one is none, with the number of their rows."""
    columns = (raw.columns[name].cast("string").to_pylist() for name in ("dep", "com"))
    for (dep, com), count in Counter(zip(*columns, strict=True)).items():
        yield _to_whole(dep), _to_whole(com), count


def _to_whole(text: str) -> int | None:
    number = parse_number(text)
    return int(number) if number is not None and number == int(number) else None


def read_location(dep: str | None, com: str | None, zero_follows: bool) -> tuple[str | None, str | None]:
    """INSEE codes of a department and a commune of either form.

    Args:
        zero_follows: `dep` is followed by a 0 where it does not show its form; 201 and 202 are Corsica.
    """
    department = _read_department(dep, zero_follows)
    if com is None or department is None:
        return department, com
    number = _to_whole(com)
    if number is None:
        return department, com.upper() if not zero_follows or com[:1] == "2" else None
    if number > 999:
        return department, f"{number:05d}"
    if number < 0:
        return department, None
    if len(department) == 3:
        return department, f"{department[:2]}{number:03d}" if number >= 100 else f"{department}{number:02d}"
    return department, f"{department}{number:03d}"


def _read_department(dep: str | None, zero_follows: bool) -> str | None:
    number = _to_whole(dep) if dep else None
    if dep is None or number is None:
        return dep.lstrip("0").upper() if dep and _form_of_department(dep) is False else dep
    form = _form_of_department(dep)
    zero = zero_follows if form is None else form
    if zero and number in _CORSICA:
        return _CORSICA[number]
    if number in _OVERSEAS:
        return str(number)
    return f"{number // 10 if zero else number:02d}"


def check_locations(raw: RawTable, dep: NDArray[np.object_], com: NDArray[np.object_]) -> None:
    """Check that departments exist and that communes are in them; single odd rows are left as they are.

    Args:
        dep, com: INSEE codes as read, each of shape (rows,).

    Raises:
        UnreadableFile: too many are not departments, or not communes of their department.
    """
    counts = Counter(zip(dep.tolist(), com.tolist(), strict=True))
    odd = {pair: count for pair, count in counts.items() if pair[0] and not _DEPARTMENT.fullmatch(pair[0])}
    apart = {
        pair: count
        for pair, count in counts.items()
        if pair not in odd and all(pair) and _COMMUNE.fullmatch(pair[1]) and not pair[1].startswith(pair[0])
    }
    for found, limit, what, rule in (
        (odd, MAX_MIXED, "is not a department", "Departments are 01 to 95, 2A, 2B and 971 to 989 (590 until 2018)"),
        (apart, MAX_APART, "and com do not belong together", "INSEE codes of communes begin with their department's"),
    ):
        rows = sum(found.values())
        if rows > max(limit * len(dep), FEW_ROWS):
            pair = next(iter(found))
            row = next(row for row, at in enumerate(zip(dep, com, strict=True)) if at == pair)
            texts = ", ".join(f"{name} = {raw.columns[name][row].as_py().strip()}" for name in ("dep", "com"))
            raise UnreadableFile(
                f"{raw.file} line {raw.line[row]}: {texts}: dep {what}, like in {rows:,} of {len(dep):,} rows. {rule}. "
                "Fix: use the file as published, or check the columns dep and com"
            )
