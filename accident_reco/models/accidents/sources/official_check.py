"""Compares what data.gouv.fr answers with what this release expects of it; for a person with internet access."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accident_reco.contract import Check
from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.checks import check_year, summarise
from accident_reco.models.accidents.data.reading import UnreadableFile
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.sources.base import SourceError
from accident_reco.models.accidents.sources.naming import describe_near_miss, parse_file_name
from accident_reco.models.accidents.sources.official import STABLE_IDS, OfficialSource, parse_resource

FIRST_YEAR, LAST_YEAR = 2005, 2024
"""Years that were published at the time of this release."""


def check_official(source: OfficialSource) -> Iterator[Check]:
    """One outcome per expectation, each as soon as it is known; the files of the newest year are fetched last."""
    try:
        years = source.years()
    except SourceError as error:
        yield Check("listing", False, str(error))
        return
    if not source.listed_at:
        yield Check("listing", False, "; ".join(source.notes()))
    else:
        yield Check("listing", True, f"{source.listed_at} lists {len(source.entries)} resources")
        missing = sorted(set(range(FIRST_YEAR, LAST_YEAR + 1)) - set(years))
        reason = f"years with four files: {_format(years)}"
        yield Check("years", not missing, reason if not missing else f"{reason}; expected also {_format(missing)}")
        yield _check_names(source, years)
        yield _check_checksums(source, years)
        yield _check_stable_links(source.entries)
    yield from _check_files(source, years[-1])


def _format(years: list[int]) -> str:
    return ", ".join(map(str, years))


def _check_names(source: OfficialSource, years: list[int]) -> Check:
    """Names that only look like the publisher's, and files that would be nearly recognised."""
    new = [
        resource.name
        for year in years
        for resource in source.resources(year).values()
        if not (parse_file_name(resource.name) or ("", 0, False))[2]
    ]
    others = [str(entry.get("title") or "") for entry in source.entries if parse_resource(entry) is None]
    near = [title for title in others if describe_near_miss(title)]
    reason = f"new names: {', '.join(new)}" if new else "all files have names that are known"
    reason += f"; not read, though similarly named: {', '.join(near[:10])}" if near else ""
    return Check("names", not new, reason, warn=True)


def _check_checksums(source: OfficialSource, years: list[int]) -> Check:
    """Whether every file has a checksum of a known kind."""
    without = [
        resource.name
        for year in years
        for resource in source.resources(year).values()
        if resource.checksum.partition(":")[0] not in ("md5", "sha1", "sha256", "sha512")
    ]
    reason = f"no checksum: {', '.join(without[:12])}" if without else "every file has a checksum"
    return Check("checksums", not without, reason, warn=True)


def _check_stable_links(entries: list[dict[str, Any]]) -> Check:
    """Whether the ids of the stable links, used without the API, are those of the listed files."""
    listed = {str(entry.get("id")): str(entry.get("title")) for entry in entries}
    wrong = []
    for year, ids in STABLE_IDS.items():
        for table, key in zip(TABLES, ids, strict=True):
            known = parse_file_name(listed.get(key, ""))
            if known is None or known[:2] != (table, year):
                wrong.append(f"{table} of {year}: {key} is {listed.get(key, 'not listed')}")
    count = sum(map(len, STABLE_IDS.values()))
    return Check("stable_links", not wrong, "; ".join(wrong) or f"all {count} stable links are of the listed files")


def _check_files(source: OfficialSource, year: int) -> Iterator[Check]:
    """Fetch and read the files of a year, with the checks of an ingestion."""
    files, records = {}, {}
    for table in TABLES:
        try:
            got = source.fetch(year, table)
        except SourceError as error:
            yield Check(f"fetch_{table}", False, str(error))
            return
        with got.stream as stream:
            files[table] = RawFile(got.name, stream.read())
        record = {"name": got.name, "url": got.url, "sha256": got.sha256, "size": got.size, "data_source": "official"}
        records[table] = record
        yield Check(f"fetch_{table}", True, f"{got.name}, {got.size:,} bytes, sha256 {got.sha256[:12]}…")
    try:
        built = build_victims(files, year)
    except UnreadableFile as error:
        yield Check("reading", False, str(error))
        return
    for outcome in check_year({year: summarise(built, year, records, "")}, year):
        yield Check(outcome.name, outcome.passed, outcome.reason)
