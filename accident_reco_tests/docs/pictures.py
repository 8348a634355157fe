"""Makes the pictures of the documentation: `make pictures` starts the platform on sample data and a headless browser.

The screenshots are reduced to a palette of few colours, so that all pictures together stay small.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from accident_reco_tests.docs import architecture
from accident_reco_tests.docs.reference import ROOT, load_definitions
from accident_reco_tests.support.client import Client
from accident_reco_tests.support.running import Running, environment

FOLDER = ROOT / "docs" / "pages" / "pictures"
ARCHITECTURE = "architecture.svg"
MAX_BYTES = 300_000
"""All pictures together."""
GROUP = "movies_training"
"""Asset group of the picture of the graph."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@contextmanager
def open_browser() -> Iterator[Any]:
    """Debian's Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def take_screenshots(running: Running, folder: Path) -> None:
    """Photograph a running platform: console, asset graph, API documentation, a drift report of simulated ratings."""
    client = Client(running)
    for seed in range(1, 5):
        client.post("predict", "/generate-ratings", {"count": 1000, "seed": seed, "shift": 0.8})
    report = client.get("drift", "/monitoring/drift/movies?compute=true")
    assert report["status"] == "drift", report["reason"]
    html = client.text("drift", "/monitoring/drift/movies/report")
    client.close()
    with open_browser() as browser:
        console = _log_in(browser, running)
        for name, path in (("console.png", "/"), ("scene.png", "/m/accidents")):
            _save(_photograph_console(console, running.url("console") + path), folder / name, width=900)
        _save(_photograph_graph(browser, running.url("dagster")), folder / "asset-graph.png", width=1100)
        _save(_photograph_docs(browser, running.url("predict")), folder / "api-docs.png", width=900)
        _save(_photograph_report(browser, html), folder / "drift-report.png", width=900)


def _photograph_graph(browser: Any, url: str) -> bytes:
    graph = load_definitions().resolve_asset_graph()
    assets = [key for key in graph.materializable_asset_keys if graph.get(key).group_name == GROUP]
    # Large enough that every asset is shown with its state, which has arrived when all are materialized.
    page = browser.new_page(viewport={"width": 1640, "height": 180 + 155 * (len(assets) - 3)})
    page.goto(f"{url}/locations/accident_reco/asset-groups/{GROUP}/lineage")
    page.locator("text=Materialized >> visible=true").nth(len(assets) - 1).wait_for()
    page.wait_for_function("() => document.getAnimations().every(one => one.playState !== 'running')")
    return bytes(page.screenshot())


def _log_in(browser: Any, running: Running) -> Any:
    """A page of the console, as the first admin."""
    page = browser.new_page(viewport={"width": 1200, "height": 860})
    page.goto(running.url("console"))
    page.fill("#f-username", "admin")
    page.fill("#f-password", (Path(running.env["ACCIDENT_RECO_HOME"]) / "keys" / "admin-password").read_text().strip())
    page.press("#f-password", "Enter")
    page.wait_for_load_state("networkidle")
    return page


def _photograph_console(page: Any, url: str) -> bytes:
    page.goto(url)
    page.wait_for_load_state("networkidle")
    return bytes(page.screenshot())


def _photograph_docs(browser: Any, url: str) -> bytes:
    page = browser.new_page(viewport={"width": 1100, "height": 720})
    page.goto(f"{url}/docs")
    page.locator(".opblock").first.wait_for()
    return bytes(page.screenshot())


def _photograph_report(browser: Any, html: str) -> bytes:
    page = browser.new_page(viewport={"width": 1100, "height": 760})
    page.set_content(html)
    page.locator("section.verdict").wait_for()
    page.locator("svg.main-svg, canvas").first.wait_for()
    return bytes(page.screenshot())


def _save(png: bytes, path: Path, width: int) -> None:
    """Scale to a width and reduce to 32 colours."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    image.quantize(32, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> int:
    """Make every picture. Returns the exit code: 1 where they are too large together."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / ARCHITECTURE).write_text(architecture.draw(), encoding="utf-8")
    with tempfile.TemporaryDirectory() as home:
        running = Running(environment(Path(home) / "home"))
        try:
            take_screenshots(running, FOLDER)
        finally:
            running.stop()
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{size:,} bytes in {FOLDER}")
    return int(size > MAX_BYTES)


if __name__ == "__main__":
    sys.exit(main())
