"""Draws `static/france.svg` from Natural Earth's outlines: `python -m … make_map countries-10m.json`.

The file is that of the npm package world-atlas 2.0.2 (ISC; the data is in the public domain). The drawing is committed;
this program runs only to make it again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from accident_reco.models.accidents.serving.console.france_map import FRAMES, HEIGHT, WIDTH, Frame

TARGET: Final = Path(__file__).with_name("static") / "france.svg"
TOLERANCE: Final = 0.4
"""Greatest distance of a point that is left out from the line without it, in units of the drawing."""
MIN_SIZE: Final = 1.5
"""Islands smaller than this are left out."""

Point = tuple[float, float]
_CITIES: Final = (
    *(("Paris", 48.857, 2.352), ("Lille", 50.637, 3.063), ("Strasbourg", 48.583, 7.746), ("Brest", 48.39, -4.486)),
    *(("Nantes", 47.218, -1.553), ("Lyon", 45.764, 4.836), ("Bordeaux", 44.838, -0.579), ("Nice", 43.71, 7.262)),
    *(("Toulouse", 43.604, 1.444), ("Marseille", 43.296, 5.37), ("Ajaccio", 41.919, 8.738)),
)


def draw(topology: dict[str, Any]) -> str:
    """The drawing as SVG, with colours for a light page; a stylesheet may invert them for a dark one."""
    paths = [path for ring in _read_rings(topology, "France") if (path := _draw_ring(ring))]
    boxes = [
        f'<rect class="box" x="{frame.left:g}" y="{frame.top:g}" width="{frame.width:g}" height="{frame.height:g}"/>'
        f'<text x="{frame.left + 5:g}" y="{frame.top + 14:g}">{frame.name}</text>'
        for frame in FRAMES[1:]
    ]
    cities = []
    for name, lat, long in _CITIES:
        x, y = FRAMES[0].to_point(lat, long)
        side = f'x="{x + 6:.0f}"' if x < WIDTH - 100 else f'x="{x - 6:.0f}" text-anchor="end"'
        cities.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="2.5"/><text {side} y="{y + 4:.0f}">{name}</text>')
    style = (
        ".sea{fill:#eaf1f7}path{fill:#c9d3de;stroke:#7b8794;stroke-width:1}.box{fill:none;stroke:#9aa5b1}"
        "text{font:12px sans-serif;fill:#52606d}circle{fill:#52606d}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
        "<!-- Outline: Natural Earth (public domain), from world-atlas 2.0.2 (ISC, see vendor/world-atlas) -->"
        f'<style>{style}</style><rect class="sea" width="{WIDTH}" height="{HEIGHT}"/>'
        f'<path d="{"".join(paths)}"/>{"".join(boxes)}{"".join(cities)}</svg>\n'
    )


def _read_rings(topology: dict[str, Any], country: str) -> Iterator[list[Point]]:
    """Outer rings of a country as (latitude, longitude); arcs of the topology are differences of whole numbers."""
    (across, down), (west, south) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs: list[list[Point]] = []
    for arc in topology["arcs"]:
        x = y = 0
        points = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            points.append((y * down + south, x * across + west))
        arcs.append(points)
    shapes = topology["objects"]["countries"]["geometries"]
    (found,) = [shape for shape in shapes if shape["properties"]["name"] == country]
    for polygon in found["arcs"]:
        ring: list[Point] = []
        for index in polygon[0]:
            points = arcs[index] if index >= 0 else arcs[~index][::-1]
            ring += points[1:] if ring else points
        yield ring


def _draw_ring(ring: list[Point]) -> str:
    frame = _find_frame(ring)
    if frame is None:
        return ""
    points = [frame.to_point(lat, long) for lat, long in ring]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if max(max(xs) - min(xs), max(ys) - min(ys)) < MIN_SIZE:
        return ""
    half = len(points) // 2
    kept = _simplify(points[: half + 1])[:-1] + _simplify(points[half:])
    x, y = (round(part, 1) for part in kept[0])
    text = f"M{x:g} {y:g}l"
    for across, down in kept[1:-1]:
        dx, dy = round(across - x, 1), round(down - y, 1)
        text += f"{dx:g} {dy:g} "
        x, y = x + dx, y + dy
    return text.rstrip() + "z"


def _find_frame(ring: Sequence[Point]) -> Frame | None:
    lat, long = (sum(part) / len(ring) for part in zip(*ring, strict=True))
    return next((frame for frame in FRAMES if frame.shows(lat, long)), None)


def _simplify(points: Sequence[Point]) -> list[Point]:
    """Douglas and Peucker's simplification, the ends kept."""
    if len(points) < 3:
        return list(points)
    (ax, ay), (bx, by) = points[0], points[-1]
    length = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5 or 1.0
    distances = [abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / length for x, y in points[1:-1]]
    farthest = max(range(len(distances)), key=distances.__getitem__)
    if distances[farthest] <= TOLERANCE:
        return [points[0], points[-1]]
    return _simplify(points[: farthest + 2])[:-1] + _simplify(points[farthest + 1 :])


if __name__ == "__main__":
    TARGET.write_text(draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), encoding="utf-8")
