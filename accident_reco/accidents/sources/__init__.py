"""Where yearly files come from: made up (`sample`), published (`official`), or a directory or URL that holds them."""

from __future__ import annotations

from collections.abc import Callable

from accident_reco.accidents.sources.base import Fetched, Source, SourceError
from accident_reco.settings import Settings

__all__ = ["Fetched", "Source", "SourceError", "open_source"]


def open_source(settings: Settings, progress: Callable[[str, int, int | None], None] | None = None) -> Source:
    """The source that the settings name; nothing is read or reached yet."""
    from accident_reco.accidents.sources.directory import DirectorySource
    from accident_reco.accidents.sources.made_up import SampleSource, parse_years
    from accident_reco.accidents.sources.official import HOSTS, OfficialSource
    from accident_reco.storage.download import Downloader

    name = settings.accidents_source
    if name == "sample":
        years = parse_years(settings.accidents_sample_years)
        return SampleSource(years, settings.accidents_sample_people, settings.seed)
    if name == "official":
        return OfficialSource(Downloader(allowed=HOSTS, progress=progress))
    return DirectorySource(name)
