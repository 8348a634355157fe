"""Sources of yearly files: generated (`sample`), published (`official`), or a directory or URL that contains them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.sources.base import Fetched, Source, SourceError

__all__ = ["Fetched", "Source", "SourceError", "open_source"]


def open_source(
    settings: AccidentSettings, progress: Callable[[str, int, int | None], None] | None = None, *, quick: bool = False
) -> Source:
    """The source of the settings; nothing is read yet. `quick`: one attempt per request with short timeouts."""
    from accident_reco.models.accidents.sources.directory import DirectorySource
    from accident_reco.models.accidents.sources.official import HOSTS, OfficialSource
    from accident_reco.models.accidents.sources.sample import SampleSource, parse_years
    from accident_reco.storage.download import Downloader

    name = settings.accidents_source
    limits: dict[str, Any] = {"attempts": 1, "timeout_s": 20.0, "read_timeout_s": 8.0} if quick else {}
    if name == "sample":
        years = parse_years(settings.accidents_sample_years)
        return SampleSource(years, settings.accidents_sample_people, settings.seed)
    if name == "official":
        return OfficialSource(replace(Downloader(allowed=HOSTS, progress=progress), **limits))
    trusted = {urlsplit(name).netloc} if urlsplit(name).scheme in ("http", "https") else set()
    return DirectorySource(name, replace(Downloader(trusted=trusted, progress=progress), **limits))
