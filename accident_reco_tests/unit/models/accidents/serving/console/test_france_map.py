"""The map's geometry and its drawing."""

from __future__ import annotations

from importlib.resources import files

import pytest

from accident_reco.models.accidents.serving.console.france_map import FRAMES, HEIGHT, WIDTH, locate, place


@pytest.mark.parametrize(
    ("lat", "long", "frame"),
    [
        (48.857, 2.352, "France"),
        (41.92, 8.74, "France"),
        (48.39, -4.49, "France"),
        (16.24, -61.53, "Guadeloupe"),
        (14.61, -61.07, "Martinique"),
        (4.94, -52.33, "Guyane"),
        (-20.88, 55.45, "La Réunion"),
        (-12.78, 45.23, "Mayotte"),
    ],
)
def test_a_click_is_a_location(lat: float, long: float, frame: str) -> None:
    """There and back within a tenth of a unit; in the frame of its territory."""
    point = place(lat, long)
    assert point is not None
    found = locate(*point)
    assert found is not None
    assert found == pytest.approx((lat, long), abs=0.02)
    assert next(each.name for each in FRAMES if each.contains(*point)) == frame


def test_what_is_not_on_the_map() -> None:
    """Other countries have no point, points between the frames no location."""
    assert place(52.5, 13.4) is None
    assert place(0, 0) is None
    assert locate(-1, 5) is None
    assert locate(121, 640) is None


def test_frames_do_not_overlap() -> None:
    """A click belongs to one frame, and all are within the drawing."""
    for at, frame in enumerate(FRAMES):
        assert frame.left >= 0
        assert frame.left + frame.width <= WIDTH
        assert frame.top + frame.height <= HEIGHT
        for other in FRAMES[at + 1 :]:
            assert not other.contains(frame.left + frame.width / 2, frame.top + frame.height / 2)


def test_the_drawing_is_small_and_has_every_territory() -> None:
    """At most 40 KB, without a script, an external reference or an island that a frame cuts off."""
    svg = files("accident_reco.models.accidents.serving.console").joinpath("static/france.svg").read_text()
    assert len(svg) < 40_000
    assert f'viewBox="0 0 {WIDTH} {HEIGHT}"' in svg
    assert all(frame.name in svg for frame in FRAMES[1:])
    assert svg.count("M") >= 12
    assert "href" not in svg
    assert "script" not in svg
