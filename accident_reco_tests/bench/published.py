"""Published files for a measurement."""

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.victims import RawFile
from accident_reco.models.accidents.sources.directory import DirectorySource


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
