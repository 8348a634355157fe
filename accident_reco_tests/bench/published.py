"""Published files for a measurement."""

from accident_reco.accidents.codebook import TABLES
from accident_reco.accidents.sources.directory import DirectorySource
from accident_reco.accidents.victims import RawFile


def newest_year(directory: str) -> tuple[dict[str, RawFile], int]:
    """The four files of the newest year in a directory, and which year that is."""
    source = DirectorySource(directory)
    year = source.years()[-1]
    files = {}
    for table in TABLES:
        fetched = source.fetch(year, table)
        with fetched.stream as stream:
            files[table] = RawFile(fetched.name, stream.read())
    return files, year
