"""A real Chromium, and axe-core in it: pages as people see them, and what a screen reader would miss."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from accident_reco.launch.programs import debian

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = (360, 768, 1280, 1920)
_AXE = Path(__file__).parent / "axe"


@contextmanager
def chromium() -> Iterator[Any]:
    """A Playwright browser. Skips where none is installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no browser: install Debian's chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@cache
def _read_axe() -> str:
    """The script of axe-core, from npm's registry in the version and with the hash of the lock file."""
    with tempfile.TemporaryDirectory() as folder:
        project = shutil.copytree(_AXE, Path(folder) / "axe")
        npm = [debian("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=project, check=True, capture_output=True, text=True, timeout=120)
        return (project / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def find_violations(page: Any, *rules: str) -> list[str]:
    """Violations of axe-core's rules (by default of all) on a page: rule, element, explanation."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_read_axe())
    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    found = page.evaluate("options => axe.run(document, options)", {"resultTypes": ["violations"], **only})
    return [
        f"{violation['id']}: {node['html'][:160]}: {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def find_overflow(page: Any) -> dict[int, list[str]]:
    """Width of the window → elements that make the page scroll sideways; leaves the page at its former size."""
    before = page.viewport_size
    found = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate(
            """() => document.documentElement.scrollWidth <= innerWidth ? [] :
            [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth
              && !e.closest('.scroll')).map(e => e.outerHTML.slice(0, 120)).slice(0, 5).concat(['the page'])"""
        )
        if wide:
            found[width] = wide
    page.set_viewport_size(before)
    return found
