"""Sample BAAC files: published headers, codes and irregularities of every era, with learnable relations.

Seeded: the same year, size and seed give the same bytes. They contain no data of real road users.
"""

from __future__ import annotations

from accident_reco.models.accidents.data.victims import RawFile
from accident_reco.models.accidents.sample.draw import draw_year
from accident_reco.models.accidents.sample.write import get_file_names, write_year

__all__ = ["sample_year"]


def sample_year(year: int, people: int, seed: int = 20) -> dict[str, RawFile]:
    """The four files of a sample year with about `people` road users, by table name."""
    names, files = get_file_names(year), write_year(draw_year(year, people, seed), seed)
    return {table: RawFile(names[table], data) for table, data in files.items()}
