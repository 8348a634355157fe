"""The map of France as frames of one drawing: metropolitan France, and each overseas department in its own box. Pure.

In a frame, latitude and longitude are proportional to the axes (equirectangular), so that a click is a location.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import cos, radians
from typing import Final

WIDTH: Final = 600
HEIGHT: Final = 690


@dataclass(frozen=True)
class Frame:
    """A rectangle of the drawing with the territory that it shows.

    Args:
        name: name of the territory.
        left, top, width, height: in units of the drawing.
        south, north, west, east: bounds that the frame shows at least, in degrees; they are centred in it.
    """

    name: str
    left: float
    top: float
    width: float
    height: float
    south: float
    north: float
    west: float
    east: float

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Units of the drawing per degree of longitude and of latitude."""
        narrow = cos(radians((self.south + self.north) / 2))
        per_latitude = min(self.height / (self.north - self.south), self.width / ((self.east - self.west) * narrow))
        return per_latitude * narrow, per_latitude

    def to_point(self, lat: float, long: float) -> tuple[float, float]:
        """Position of a location in the drawing."""
        across, down = self.scale
        x = self.left + self.width / 2 + (long - (self.west + self.east) / 2) * across
        y = self.top + self.height / 2 - (lat - (self.south + self.north) / 2) * down
        return x, y

    def to_location(self, x: float, y: float) -> tuple[float, float]:
        """Latitude and longitude of a position in the drawing."""
        across, down = self.scale
        lat = (self.south + self.north) / 2 - (y - self.top - self.height / 2) / down
        long = (self.west + self.east) / 2 + (x - self.left - self.width / 2) / across
        return lat, long

    def contains(self, x: float, y: float) -> bool:
        """Whether a position is in the frame."""
        return self.left <= x <= self.left + self.width and self.top <= y <= self.top + self.height

    def shows(self, lat: float, long: float) -> bool:
        """Whether a location is in the frame."""
        return self.contains(*self.to_point(lat, long))


FRAMES: Final = (
    Frame("France", 6, 6, 588, 574, 41.25, 51.2, -5.2, 9.7),
    Frame("Guadeloupe", 6, 590, 112, 94, 15.8, 16.7, -61.85, -60.95),
    Frame("Martinique", 125, 590, 112, 94, 14.36, 15.02, -61.26, -60.78),
    Frame("Guyane", 244, 590, 112, 94, 2.0, 6.5, -54.7, -51.5),
    Frame("La Réunion", 363, 590, 112, 94, -21.44, -20.7, 55.18, 55.88),
    Frame("Mayotte", 482, 590, 112, 94, -13.04, -12.52, 45.0, 45.34),
)


def locate(x: float, y: float) -> tuple[float, float] | None:
    """Latitude and longitude of a position in the drawing, to five digits; None outside of every frame."""
    for frame in FRAMES:
        if frame.contains(x, y):
            lat, long = frame.to_location(x, y)
            return round(lat, 5), round(long, 5)
    return None


def place(lat: float, long: float) -> tuple[float, float] | None:
    """Position of a location in the drawing, to a tenth; None where no frame shows it."""
    for frame in FRAMES:
        if frame.shows(lat, long):
            x, y = frame.to_point(lat, long)
            return round(x, 1), round(y, 1)
    return None
