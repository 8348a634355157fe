"""What an ingestion would make of a folder of yearly files, found out by the code that ingests. Stores nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from accident_reco.contract import FileReport
from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.adapters import read_canonical
from accident_reco.models.accidents.data.causes import list_causes
from accident_reco.models.accidents.data.checks import check_year, summarise
from accident_reco.models.accidents.data.quarantine import REPAIRED, Quarantine
from accident_reco.models.accidents.data.reading import UnreadableFile
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.sources.base import SourceError
from accident_reco.models.accidents.sources.directory import DirectorySource
from accident_reco.models.accidents.sources.naming import describe_near_miss

ERAS = {"since_2019": "layout since 2019", "until_2018": "layout until 2018"}


def inspect_folder(folder: Path) -> list[FileReport]:
    """A report per file and year, then files that are nearly named like yearly files.

    Raises:
        SourceError: the folder does not exist.
    """
    source = DirectorySource(str(folder))
    found = source.list_files()
    reports: list[FileReport] = []
    for year, tables in found.items():
        missing = [table for table in TABLES if table not in tables]
        files, broken = _fetch(source, year, tables)
        if missing or broken:
            why = f"{year} is left out: no file for {', '.join(missing)}" if missing else f"{year} is left out"
            reports += [broken.get(table) or _inspect_alone(year, files[table], table, why) for table in tables]
        else:
            reports += _inspect_year(year, files, {table: paths[0] for table, paths in tables.items()})
    notes = [*source.unreadable(), *source.listing.notes]
    reports += [FileReport(note.split(" is ")[0], "no yearly file", problem=note) for note in notes]
    for path in sorted(source.paths()):
        if note := describe_near_miss(path):
            reports.append(FileReport(path, "no yearly file", problem=note))
    return reports


def _fetch(
    source: DirectorySource, year: int, tables: Mapping[str, list[str]]
) -> tuple[dict[str, RawFile], dict[str, FileReport]]:
    """The files of a year, and reports of those that cannot be fetched or unpacked."""
    files, broken = {}, {}
    for table, paths in tables.items():
        try:
            fetched = source.fetch_path(paths[0], year, table)
            with fetched.stream as stream:
                files[table] = RawFile(paths[0], stream.read())
        except SourceError as error:
            broken[table] = FileReport(paths[0], f"{table} of {year}", problem=str(error))
    return files, broken


def _inspect_alone(year: int, file: RawFile, table: str, why: str) -> FileReport:
    """A file of an incomplete year."""
    notes = Quarantine(year)
    try:
        read = read_canonical(file.data, table, file.name, notes)
    except UnreadableFile as error:
        return FileReport(file.name, f"{table} of {year}", problem=str(error))
    causes = list_causes(notes.to_frame(), {table: read.raw.rows_in})
    layout = _describe_layout(read.era, read.raw.layout, causes)
    return FileReport(file.name, f"{table} of {year}", layout, len(read), _list_rejected(causes), why)


def _list_rejected(causes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    return {cause["first"]: cause["rows"] for cause in causes if not _is_of_file(cause)}


def _describe_layout(era: str, layout: str, causes: Iterable[Mapping[str, Any]]) -> str:
    """Era, encoding and separator, and what is remarkable about the file as a whole."""
    return "; ".join([f"{ERAS[era]}, {layout}", *(cause["first"] for cause in causes if _is_of_file(cause))])


def _is_of_file(cause: Mapping[str, Any]) -> bool:
    """Whether a note is about a whole file or column, not about single rows."""
    return cause["disposition"] == REPAIRED and not cause["column"]


def _inspect_year(year: int, files: Mapping[str, RawFile], paths: Mapping[str, str]) -> Iterator[FileReport]:
    """The four files of a year, with the checks that the year would fail beside the file that is the cause."""
    try:
        built = build_victims(files, year)
    except UnreadableFile as error:
        for table, path in paths.items():
            named = str(error).startswith(path)
            problem = str(error) if named else f"{year} is left out, because of another of its files"
            yield FileReport(path, f"{table} of {year}", problem=problem)
        return
    records = {
        table: {"name": path, "url": path, "sha256": table, "size": len(files[table].data), "data_source": "directory"}
        for table, path in paths.items()
    }
    outcomes = check_year({year: summarise(built, year, records, "")}, year)
    problems = [outcome.reason for outcome in outcomes if not outcome.passed]
    causes = list_causes(built.quarantine, {table: count.rows_in for table, count in built.counts.items()})
    for table, path in paths.items():
        mine = [problem for problem in problems if f": {path} line" in problem]
        others = [problem for problem in problems if not any(f": {other} line" in problem for other in paths.values())]
        reasons = mine + (others if table == TABLES[0] else [])
        of_table = [cause for cause in causes if cause["table"] == table]
        layout = _describe_layout(built.eras[table], built.layouts[table], of_table)
        rows, rejected = built.counts[table].rows_out, _list_rejected(of_table)
        yield FileReport(path, f"{table} of {year}", layout, rows, rejected, "; ".join(reasons))
