"""Libraries that browsers load from this installation: pinned, permissive, with their licence."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accident_reco_tests.support.running import ROOT

PERMISSIVE = {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}
STATIC = sorted([ROOT / "serving/console/static", *ROOT.glob("accident_reco/models/*/serving/console/static")])
LISTS = [folder / "vendor" for folder in STATIC if (folder / "vendor").is_dir()]
WORDS = {"0BSD": "Zero-Clause BSD", "BSD-2-Clause": "Redistributions", "MIT": "Permission is hereby granted"}


def libraries() -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder in LISTS:
        listed = tomllib.loads((folder / "vendored.toml").read_text(encoding="utf-8"))
        yield from ((folder, library) for library in listed["library"])


@pytest.mark.parametrize(("folder", "library"), [pytest.param(*each, id=each[1]["package"]) for each in libraries()])
def test_a_library_is_what_its_entry_says(folder: Path, library: dict[str, Any]) -> None:
    """Exact version, permissive licence with its text, files with the stated hashes."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", library["version"])
    assert library["licence"] in PERMISSIVE
    licence = [name for name in library["files"] if Path(name).name.upper().startswith("LICEN")]
    assert licence, "its licence is beside it"
    text = (folder / licence[0]).read_text(encoding="utf-8")
    assert WORDS.get(library["licence"], "") in text
    for name, expected in library["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected, name


@pytest.mark.parametrize("folder", LISTS, ids=str)
def test_every_vendored_file_is_listed(folder: Path) -> None:
    """No file came here by another way."""
    listed = {name for where, library in libraries() if where == folder for name in library["files"]}
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == listed | {"vendored.toml"}


def test_pages_name_no_other_host_and_have_no_inline_script_or_style() -> None:
    """Templates and our own scripts: what the policy of the pages would refuse is not written either."""
    folders = [ROOT / "serving/console", *ROOT.glob("accident_reco/models/*/serving/console")]
    files = [path for folder in folders for kind in ("html", "js", "css") for path in folder.rglob(f"*.{kind}")]
    own = [path for path in files if "vendor" not in path.parts]
    assert len(own) > 10
    for path in own:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""(?:src|href|action|url)\s*[=(]\s*["']?(?:https?:)?//""", text), path
        if path.suffix == ".html":
            assert not re.search(
                r"<script(?![^>]*\bsrc=)|<style\b|\sstyle=|\son[a-z]+=|javascript:|\|\s*safe\b", text
            ), path
        if path.suffix == ".js":
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
            ), path
