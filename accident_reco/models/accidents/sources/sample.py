"""The source `sample`: generated files for any year since 2005."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.victims import RawFile
from accident_reco.models.accidents.sources.base import Fetched, SourceError
from accident_reco.storage.download import spool

# Increase it when the generator's output changes, so that sample years count as corrected.
GENERATOR = 1
FIRST_YEAR = 2005


class SampleSource:
    """Generated years. `years` are ingested at the first start; any other year since 2005 can be fetched."""

    data_source = "sample"

    def __init__(self, years: list[int], people: int, seed: int) -> None:
        self._years, self.people, self.seed = sorted(years), people, seed

    def years(self) -> list[int]:
        """The years configured."""
        return list(self._years)

    def fingerprint(self, year: int) -> str:
        """Hash of the arguments that determine the files."""
        return hashlib.sha256(f"{GENERATOR}:{year}:{self.people}:{self.seed}".encode()).hexdigest()[:16]

    def is_current(self) -> bool:
        """Always: files are generated."""
        return True

    def fetch(self, year: int, table: str) -> Fetched:
        """One file of a sample year."""
        latest = datetime.now(UTC).year
        if not FIRST_YEAR <= year <= latest or table not in TABLES:
            raise SourceError(f"sample data is {', '.join(TABLES)} of {FIRST_YEAR} to {latest}, not {table} of {year}")
        file = _generate_year(year, self.people, self.seed)[table]
        stream, sha256, size = spool([file.data])
        return Fetched(file.name, f"sample://{self.seed}/{self.people}/{file.name}", stream, sha256, size)

    def notes(self) -> list[str]:
        """No warnings."""
        return []


@lru_cache(maxsize=1)
def _generate_year(year: int, people: int, seed: int) -> dict[str, RawFile]:
    # The four files of a year are generated together and fetched one by one.
    from accident_reco.models.accidents.sample import sample_year

    return sample_year(year, people, seed)


def parse_years(text: str) -> list[int]:
    """`2021-2024`, `2019,2021-2023` or `2024` as ascending years.

    Raises:
        ValueError: the text is no such list.
    """
    years: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{4})\s*(?:-\s*(\d{4})\s*)?", part)
        if match is None:
            raise ValueError(f"{text!r} is not a list of years such as 2021-2024 or 2019,2022")
        first, last = int(match[1]), int(match[2] or match[1])
        if not FIRST_YEAR <= first <= last <= 2099:
            raise ValueError(f"{part.strip()!r} is not a range of years from {FIRST_YEAR} on, earliest first")
        years.update(range(first, last + 1))
    return sorted(years)
