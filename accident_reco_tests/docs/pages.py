"""The text of the documentation: its files, code blocks and the tests that its other commands name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from accident_reco_tests.docs.reference import ROOT

DOCS = ROOT / "docs"
PAGES = DOCS / "pages"
README = ROOT / "README.md"
DOCUMENTS = (README, ROOT / "CONTRIBUTING.md", *sorted(PAGES.rglob("*.md")))

_FENCE = re.compile(
    r"(?:^(?P<note>[ ]*<!-- [^\n]* -->)\n)?^(?P<indent>[ ]*)```(?P<language>[\w-]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_TEST = re.compile(r"<!-- (?:run|checked) by: (\S+)::(\S+) -->")


class Block(NamedTuple):
    """A fenced code block; `test` is the (file, function) of the comment above it, if there is one."""

    page: str
    language: str
    code: str
    test: tuple[str, str] | None


class _Loader(yaml.SafeLoader):
    """Reads MkDocs' own tags as None."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def configuration() -> dict[str, Any]:
    """The configuration of the site."""
    document = yaml.load((DOCS / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)
    assert isinstance(document, dict)
    return document


def in_order() -> list[Path]:
    """The README, then the pages in the order of the navigation."""
    return [README, *(PAGES / name for name in _names(configuration()["nav"]))]


def _names(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        target = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(target, list):
            yield from _names(target)
        else:
            yield target


def blocks(path: Path) -> Iterator[Block]:
    """Code blocks of a document, without their indentation."""
    for found in _FENCE.finditer(path.read_text(encoding="utf-8")):
        indent, note = found["indent"], _TEST.search(found["note"] or "")
        code = "".join(line.removeprefix(indent) for line in found["code"].splitlines(keepends=True))
        test = (note[1], note[2]) if note else None
        yield Block(path.relative_to(ROOT).as_posix(), found["language"], code, test)
