"""The commands of the platform, read from the Makefile and from the modules that run as programs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("accident_reco", "serving", "accident_reco_tests/bench", "accident_reco_tests/mutants")
TARGET = re.compile(r"^([a-z-]+):.*## (.+)$", re.MULTILINE)
MAIN = re.compile(r"^if __name__ == .__main__.:$", re.MULTILINE)


def targets() -> list[tuple[str, str]]:
    """Make targets with their descriptions, as `make help` lists them."""
    return TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))


def programs() -> Iterator[tuple[str, str]]:
    """Modules that run as `python -m` and have arguments, with the first paragraph of their docstring."""
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if MAIN.search(text) and "ArgumentParser(" in text:
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
            summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
            yield module, summary
