"""A fetched file, and how one is read from a zip. Where files come from is in `sources`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

from accident_reco.storage.archives import ArchiveError, open_zip, unpack_member
from accident_reco.storage.download import spool


class SourceError(RuntimeError):
    """A source cannot provide its files; the message names the expected files, the place and the fix."""


@dataclass
class FetchedFile:
    """One fetched file: its published name, its URL, and a stream at its beginning."""

    name: str
    url: str
    stream: IO[bytes]
    sha256: str
    size: int
    note: str = ""


def extract_member(archive: IO[bytes], url: str, names: Iterable[str], note: str = "") -> FetchedFile:
    """The member of a zip whose own name is one of `names`, in that order of preference.

    Nothing is extracted to a path: a member's name is only compared. Raises SourceError for an invalid zip
    (damaged, encrypted, an unknown method), a member that unpacks to too much, or none or several of that name.
    """
    try:
        with open_zip(archive, url) as opened:
            for name in names:
                found = [info for info in opened.infolist() if info.filename.rsplit("/", 1)[-1] == name]
                if len(found) > 1:
                    raise SourceError(f"{url} holds {len(found)} files called {name}; use a directory instead")
                if found:
                    content = spool(unpack_member(opened, found[0], url))
                    return FetchedFile(name, f"{url}#{found[0].filename}", *content, note)
    except ArchiveError as error:
        raise SourceError(str(error)) from error
    raise SourceError(f"{url} holds none of {', '.join(names)}")
