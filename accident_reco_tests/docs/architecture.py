"""Draws the architecture as SVG from the boxes and arrows below."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final, NamedTuple

STEP: Final = (162, 130)
SIZE: Final = (138, 64)
ORIGIN: Final = (24, 56)


class Box(NamedTuple):
    """A box at (column, row) with a title and one line of explanation; `kind` chooses its colour."""

    column: int
    row: int
    title: str
    text: str
    kind: str

    @property
    def corner(self) -> tuple[int, int]:
        """Upper left corner, in pixels."""
        return ORIGIN[0] + self.column * STEP[0], ORIGIN[1] + self.row * STEP[1]

    @property
    def middle(self) -> tuple[int, int]:
        """Centre, in pixels."""
        return self.corner[0] + SIZE[0] // 2, self.corner[1] + SIZE[1] // 2


BOXES: Final = {
    "files": Box(0, 0, "Published files", "BAAC, MovieLens", "outside"),
    "raw": Box(1, 0, "Raw files", "sha256, source", "asset"),
    "rows": Box(2, 0, "Rows", "checks, quarantine", "asset"),
    "training": Box(3, 0, "Training rows", "features, holdout", "asset"),
    "candidates": Box(4, 0, "Candidates", "trained in parallel", "asset"),
    "gate": Box(5, 0, "Gate", "paired test, reasons", "decision"),
    "dashboards": Box(1, 1, "Dashboards", "Grafana", "outside"),
    "warehouse": Box(2, 1, "Warehouse", "SQL tables, views", "store"),
    "policy": Box(3, 1, "Retrain policy", "hysteresis, budget", "decision"),
    "requests": Box(4, 1, "Requests, alerts", "users, new data", "outside"),
    "pointer": Box(5, 1, "Model store", "versions, pointer", "store"),
    "drift": Box(3, 2, "Drift report", "window vs reference", "asset"),
    "log": Box(4, 2, "Prediction log", "inputs, labels", "store"),
    "predict": Box(5, 2, "Predict API", "follows the pointer", "service"),
    "clients": Box(2, 2, "Clients", "predictions, feedback", "outside"),
}
ARROWS: Final = (
    *(("files", "raw"), ("raw", "rows"), ("rows", "training"), ("training", "candidates"), ("candidates", "gate")),
    *(("gate", "pointer"), ("pointer", "predict"), ("predict", "log"), ("log", "drift"), ("drift", "policy")),
    *(("policy", "training"), ("requests", "policy"), ("rows", "warehouse"), ("warehouse", "dashboards")),
)
COLOURS: Final = {
    "outside": ("#f5f5f7", "#9a9aa5"),
    "asset": ("#e6f6ee", "#2e9e6b"),
    "decision": ("#fff3d9", "#c98a1b"),
    "store": ("#e8ecfb", "#4a5fc1"),
    "service": ("#fbe7ef", "#c03a73"),
}
LEGEND: Final = {
    "asset": "Dagster asset",
    "decision": "pure decision",
    "store": "store",
    "service": "service",
    "outside": "outside",
}
WIDTH: Final = 2 * ORIGIN[0] + 5 * STEP[0] + SIZE[0]
HEIGHT: Final = ORIGIN[1] + 2 * STEP[1] + SIZE[1] + 96


def draw() -> str:
    """The drawing, a complete SVG document."""
    return "\n".join([*_head(), *_arrows(), *_boxes(), *_legend(), "</svg>", ""])


def _head() -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    yield '  font-family="system-ui, sans-serif" role="img">'
    yield "<title>Published files become assets, models, a pointer, predictions and a drift report; loop closed</title>"
    yield '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    yield '<path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#fff"/>'
    yield f'<text x="{ORIGIN[0]}" y="34" font-size="18" font-weight="600" fill="#222">One loop for every model</text>'


def _arrows() -> Iterator[str]:
    for source, target in ARROWS:
        yield _line(*_ends(BOXES[source], BOXES[target]))
    # Clients call the predict API, below the log and the drift report.
    low = BOXES["clients"].corner[1] + SIZE[1]
    (x1, _), (x2, _) = BOXES["clients"].middle, BOXES["predict"].middle
    yield f'<path d="M{x1} {low}v26H{x2}v-24" fill="none" stroke="#555" stroke-width="1.5" marker-end="url(#head)"/>'


def _ends(source: Box, target: Box) -> tuple[int, int, int, int]:
    """From the edge of one box to the edge of a neighbour in the same row or column."""
    (x1, y1), (x2, y2) = source.middle, target.middle
    if y1 == y2:
        side = 1 if x2 > x1 else -1
        return x1 + side * SIZE[0] // 2, y1, x2 - side * (SIZE[0] // 2 + 2), y2
    side = 1 if y2 > y1 else -1
    return x1, y1 + side * SIZE[1] // 2, x2, y2 - side * (SIZE[1] // 2 + 2)


def _line(x1: int, y1: int, x2: int, y2: int) -> str:
    return f'<path d="M{x1} {y1}L{x2} {y2}" stroke="#555" stroke-width="1.5" marker-end="url(#head)"/>'


def _boxes() -> Iterator[str]:
    for box in BOXES.values():
        (x, y), (middle, _) = box.corner, box.middle
        fill, edge = COLOURS[box.kind]
        yield f'<rect x="{x}" y="{y}" width="{SIZE[0]}" height="{SIZE[1]}" rx="8" fill="{fill}" stroke="{edge}"/>'
        yield _text(middle, y + 28, box.title, 14, "#111", "600")
        yield _text(middle, y + 48, box.text, 12, "#444", "400")


def _text(x: int, y: int, text: str, size: int, colour: str, weight: str) -> str:
    font = f'font-size="{size}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x}" y="{y}" text-anchor="middle" {font}>{escape(text)}</text>'


def _legend() -> Iterator[str]:
    y = HEIGHT - 24
    for number, (kind, text) in enumerate(LEGEND.items()):
        x = ORIGIN[0] + number * 150
        fill, edge = COLOURS[kind]
        yield f'<rect x="{x}" y="{y - 12}" width="16" height="16" rx="4" fill="{fill}" stroke="{edge}"/>'
        yield f'<text x="{x + 24}" y="{y + 1}" font-size="12" fill="#444">{escape(text)}</text>'
