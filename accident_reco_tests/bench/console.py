"""Measures the console's pages in Chromium: bytes of a first visit, and the time to the first paint.

`python -m accident_reco_tests.bench.console [--rounds N]`: all services in this process, small champions, loopback.
Bytes are those of a visit with an empty cache, compressed as sent; times are medians of visits with a warm one and of
visits with an empty one.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from pathlib import Path
from typing import Any

import structlog

from accident_reco_tests.support.browser import chromium
from accident_reco_tests.support.console import ConsolePlatform, running_console

MAX_BYTES = 150_000
MAX_PAINT_MS = 300
PAINT = """() => new Promise(done => new PerformanceObserver(list => {
  const paint = list.getEntriesByName('first-contentful-paint')[0];
  if (paint) done(paint.startTime);
}).observe({type: 'paint', buffered: true}))"""


def visit(page: Any, url: str) -> tuple[int, float]:
    """Bytes of all bodies, as sent, and milliseconds to the first contentful paint."""
    sizes: list[int] = []

    def count(request: Any) -> None:
        sizes.append(request.sizes()["responseBodySize"])

    page.on("requestfinished", count)
    page.goto(url, wait_until="load")
    paint = float(page.evaluate(PAINT))
    page.remove_listener("requestfinished", count)
    return sum(sizes), paint


def find_pages(platform: ConsolePlatform, browser: Any) -> list[str]:
    """Paths of the navigation of an admin."""
    with platform.person(browser) as page:
        links = page.eval_on_selector_all("header nav a", "all => all.map(a => a.getAttribute('href'))")
    return [str(link) for link in links]


def main() -> int:
    """Print a line per page; 1 where one exceeds a limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    failed = False
    with tempfile.TemporaryDirectory() as home, running_console(Path(home)) as platform, chromium() as browser:
        print(f"{'page':<24}{'bytes':>10}{'first visit':>14}{'later visits':>14}")
        for path in find_pages(platform, browser):
            first, later, sizes = [], [], []
            for _ in range(rounds):
                with platform.person(browser) as page:
                    session = page.context.new_cdp_session(page)
                    session.send("Network.clearBrowserCache")
                    size, paint = visit(page, platform.url + path)
                    sizes.append(size)
                    first.append(paint)
                    later.append(visit(page, platform.url + path)[1])
            shown = statistics.median(first), statistics.median(later)
            failed |= max(sizes) > MAX_BYTES or max(shown) > MAX_PAINT_MS
            print(f"{path:<24}{max(sizes):>10,}{shown[0]:>11.0f} ms{shown[1]:>11.0f} ms")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
