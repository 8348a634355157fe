"""The source `official`: yearly files on data.gouv.fr, found by name through its API."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.sources.base import Fetched, SourceError
from accident_reco.models.accidents.sources.naming import parse_file_name
from accident_reco.storage.download import CHUNK, Download, Downloader, DownloadError, find_web_page

API: Final = "https://www.data.gouv.fr/api/1/datasets/"
STABLE: Final = "https://www.data.gouv.fr/fr/datasets/r/"
SLUG: Final = "bases-de-donnees-annuelles-des-accidents-corporels-de-la-circulation-routiere-annees-de-2005-a-{year}"
DATASET_ID: Final = "53698f4ca3a729239d2036df"
"""Id of the dataset, which stays when its slug changes."""
HOSTS: Final = ("data.gouv.fr",)
FIRST_SLUG: Final = 2019

# Stable links in the order of the tables, used when the API is unavailable.
STABLE_IDS: Final[dict[int, tuple[str, str, str, str]]] = {
    2023: (
        "104dbb32-704f-4e99-a71e-43563cb604f2",
        "8bef19bf-a5e4-46b3-b5f9-a145da4686bc",
        "146a42f5-19f0-4b3e-a887-5cd8fbef057b",
        "68848e2a-28dd-4efc-9d5f-d512f7dbe66f",
    ),
    2022: (
        "5fc299c0-4598-4c29-b74c-6a67b0cc27e7",
        "a6ef711a-1f03-44cb-921a-0ce8ec975995",
        "c9742921-4427-41e5-81bc-f13af8bc31a0",
        "62c20524-d442-46f5-bfd8-982c59763ec8",
    ),
    2021: (
        "85cfdc0c-23e4-4674-9bcd-79a970d7269b",
        "8a4935aa-38cd-43af-bf10-0209d6d17434",
        "0bb5953a-25d8-46f8-8c25-b5c2f5ba905e",
        "ba5a1956-7e82-41b7-a602-89d7dd484d7a",
    ),
    2020: (
        "07a88205-83c1-4123-a993-cba5331e8ae0",
        "e85c41f7-d4ea-4faf-877f-ab69a620ce21",
        "a66be22f-c346-49af-b196-71df24702250",
        "78c45763-d170-4d51-a881-e3147802d7ee",
    ),
    2019: (
        "e22ba475-45a3-46ac-a0f7-9ca9ed1e283a",
        "2ad65965-36a1-4452-9c08-61a6c874e3e6",
        "780cd335-5048-4bd6-a841-105b44eb2667",
        "36b1b7b3-84b4-4901-9163-59ae8a9e3028",
    ),
}


@dataclass(frozen=True)
class Resource:
    """One file of the dataset, as the API lists it. `checksum` is `algorithm:hex` or empty."""

    name: str
    url: str
    checksum: str
    modified: str


class OfficialSource:
    """Years of the dataset with four files. `api` and `stable` are other addresses in tests only."""

    data_source = "official"

    def __init__(
        self,
        downloader: Downloader | None = None,
        api: str = API,
        stable: str = STABLE,
        latest: Callable[[], int] = lambda: datetime.now(UTC).year,
    ) -> None:
        self._downloader = downloader or Downloader(allowed=HOSTS)
        self._api, self._stable, self._latest = api, stable, latest
        self._notes: list[str] = []
        self._listing_failed = False
        self.listed_at = ""
        """Address whose answer is used; "" before, and where the API failed."""
        self.entries: list[dict[str, Any]] = []
        """Resources as the API lists them."""

    @cached_property
    def _resources(self) -> dict[int, dict[str, Resource]]:
        try:
            listed = self.entries = self._listed()
        except (DownloadError, ValueError, RecursionError) as error:
            self._listing_failed = True
            self._notes.append(f"the API of data.gouv.fr did not answer ({error}); the stable links are used instead")
            return {
                year: {
                    table: Resource(f"{table}-{year}.csv", self._stable + key, "", "")
                    for table, key in zip(TABLES, keys, strict=True)
                }
                for year, keys in sorted(STABLE_IDS.items())
            }
        found: dict[int, dict[str, Resource]] = {}
        for entry in listed:
            resource = parse_resource(entry)
            known = parse_file_name(resource.name) if resource is not None else None
            if resource is None or known is None:
                continue
            table, year, _ = known
            before = found.setdefault(year, {}).get(table)
            # The publisher's own name first; a corrected file may be listed beside the one it replaces: the later one.
            if before is None or _rank(before) < _rank(resource):
                found[year][table] = resource
        renamed = [f.name for files in found.values() for f in files.values() if not _rank(f)[0]]
        if renamed:
            self._notes.append(f"names that are new, but recognised: {', '.join(sorted(renamed)[:8])}")
        for year in sorted(found):
            missing = [table for table in TABLES if table not in found[year]]
            if missing:
                self._notes.append(f"{year} is left out: the dataset lists no file for {', '.join(missing)}")
                del found[year]
        return dict(sorted(found.items()))

    def _listed(self) -> list[dict[str, Any]]:
        """Resources of the newest edition of the dataset, whose slug ends in the last published year.

        Raises:
            DownloadError: there is no edition, or the API is unavailable.
            ValueError: the answer has another format.
        """
        failure: DownloadError | None = None
        editions = [SLUG.format(year=year) for year in range(self._latest(), FIRST_SLUG - 1, -1)]
        for edition in [*editions, DATASET_ID]:
            url = f"{self._api}{edition}/"
            try:
                body = self._downloader.get(url)
            except DownloadError as error:
                if "answered 404" not in str(error) and "answered 410" not in str(error):
                    raise
                failure = error
                continue
            with body.stream as stream:
                page = find_web_page(body)
                if page is not None:
                    raise ValueError(f"{url} answered {page}")
                answer = json.load(stream)
            resources = answer.get("resources") if isinstance(answer, dict) else None
            if not isinstance(resources, list):
                raise ValueError(f"{url} answered without a list of resources")
            self.listed_at = url
            return [entry for entry in resources if isinstance(entry, dict)]
        raise failure or DownloadError(f"{self._api}: no edition of the dataset since {FIRST_SLUG}")

    def years(self) -> list[int]:
        """Years with all four files."""
        if not self._resources:
            raise SourceError(f"{self._api} lists no year with all of {', '.join(TABLES)}")
        return list(self._resources)

    def notes(self) -> list[str]:
        """Years that are skipped, and whether the API was unavailable."""
        return list(self._notes) if self._resources is not None else []

    def fingerprint(self, year: int) -> str:
        """Hash of the published checksums and times."""
        files = self._files(year)
        parts = [f"{files[table].url} {files[table].checksum} {files[table].modified}" for table in TABLES]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def is_current(self) -> bool:
        """False if the API is unavailable, since stable links do not show corrections."""
        return bool(self._resources) and not self._listing_failed

    def resources(self, year: int) -> dict[str, Resource]:
        """The files of a year, by table.

        Raises:
            SourceError: the year is not published with all four.
        """
        return dict(self._files(year))

    def fetch(self, year: int, table: str) -> Fetched:
        """One file, verified by its published checksum."""
        resource = self._files(year)[table]
        try:
            got = self._downloader.get(resource.url, lambda body: _find_problem(body, resource.checksum))
        except DownloadError as error:
            raise SourceError(f"{table} of {year} cannot be fetched: {error}") from error
        return Fetched(resource.name, resource.url, got.stream, got.sha256, got.size)

    def _files(self, year: int) -> dict[str, Resource]:
        if year not in self.years():
            raise SourceError(
                f"{year} is not published with all four files; published are {', '.join(map(str, self.years()))}"
            )
        return self._resources[year]


def _rank(resource: Resource) -> tuple[bool, str]:
    """Order of two files of one year and table: the better one is larger."""
    known = parse_file_name(resource.name)
    return known is not None and known[2], resource.modified


def parse_resource(entry: dict[str, Any]) -> Resource | None:
    """A yearly file of the API's list, recognised by its title or its address; None for other resources."""
    url = entry.get("url")
    if not isinstance(url, str):
        return None
    title = str(entry.get("title") or "").strip()
    is_csv = str(entry.get("format") or "csv").lower() == "csv"
    names = [title, unquote(url.split("?")[0].rsplit("/", 1)[-1]), *([f"{title}.csv"] if is_csv else [])]
    known = [(name, parsed) for name in names if (parsed := parse_file_name(name))]
    if not known:
        return None
    name = max(known, key=lambda pair: pair[1][2])[0]
    checksum = entry.get("checksum")
    kind, value = (checksum.get("type"), checksum.get("value")) if isinstance(checksum, dict) else (None, None)
    published = f"{kind}:{value}" if isinstance(kind, str) and isinstance(value, str) else ""
    return Resource(name, url, published.lower(), str(entry.get("last_modified") or ""))


def _find_problem(body: Download, checksum: str) -> str | None:
    """Why a body is not the published file: a web page, or another checksum; None if it is, as far as is published."""
    page = find_web_page(body)
    return f"answered {page}" if page is not None else _find_checksum_mismatch(body, checksum)


def _find_checksum_mismatch(body: Download, checksum: str) -> str | None:
    """The difference of a body's checksum to the published one; None if they are equal or none is published."""
    algorithm, _, expected = checksum.partition(":")
    if algorithm not in ("md5", "sha1", "sha256", "sha512") or not expected:
        return None
    digest = hashlib.new(algorithm, usedforsecurity=False)
    while chunk := body.stream.read(CHUNK):
        digest.update(chunk)
    body.stream.seek(0)
    found = digest.hexdigest()
    return None if found == expected else f"the {algorithm} is {found}, published is {expected}"
