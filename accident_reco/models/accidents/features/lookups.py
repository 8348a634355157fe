"""Small tables behind the derived features: one indexing answers for any number of rows, unknown (-1) included.

Index -1 reads a table's last entry, which stands for unknown in all of them.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.context import N_KINDS, kind_of_catv

# Rough masses in kg by kind of vehicle: what counts is who is much lighter than whom.
MASS: Final = np.array(
    [np.nan, np.nan, 90, 95, 180, 280, 450, 1_400, 2_200, 8_000, 14_000, 20_000, 50_000, np.nan], dtype=np.float64
)
ON_FOOT_MASS: Final = 75.0
ON_FOOT_KIND: Final = N_KINDS
UNKNOWN_KIND: Final = N_KINDS


def _hours() -> NDArray[np.float32]:
    table = np.full(2402, np.nan, dtype=np.float32)
    code = np.arange(2400)
    table[:2400] = code // 100 + code % 100 / 60
    return table


def _speeds() -> NDArray[np.float32]:
    # Limits above 130 km/h exist in the files (up to 900) but on no road.
    table = np.full(133, np.nan, dtype=np.float32)
    table[5:131] = np.arange(5, 131)
    return table


HOUR: Final = _hours()
SPEED: Final = _speeds()

# secu codes as bits: 0 none, 1 belt, 2 helmet, 3 child seat, 4 vest, 5 airbag, 6 gloves, 7 both, 8 undetermined.
# Bit 256 says that the code is known at all; 9 and later codes are known to be something else.
SECU_BITS: Final = np.array([257, 258, 260, 264, 272, 288, 320, 352, 384, 256, 256, 0], dtype=np.int64)
BIT: Final = (1 << np.arange(8, dtype=np.int64))[:, None]


def vehicle_kind(catv: NDArray[np.int64]) -> NDArray[np.int64]:
    """Kind of vehicle, `UNKNOWN_KIND` where catv is unknown."""
    return np.where(catv < 0, UNKNOWN_KIND, kind_of_catv(catv))


@cache
def collision_table() -> NDArray[np.float32]:
    """Own kind, the opponent's kind, log of the mass ratio, and the share of its speed that the party loses.

    Shape (4, 2, kinds + 1, kinds + 1), indexed by: on foot, kind of vehicle, kind of the heaviest other vehicle. In a
    perfectly inelastic collision a party of mass m against one of mass M changes its speed by v·M/(m+M): the one
    physical quantity that severity depends on most. Alone, it is the whole speed.
    """
    foot, vehicle, other = np.meshgrid(np.arange(2), np.arange(N_KINDS + 1), np.arange(N_KINDS + 1), indexing="ij")
    # A pedestrian's vehicle in BAAC is the one that hit them.
    opponent = np.where(foot == 1, vehicle, other)
    mass = np.where(foot == 1, ON_FOOT_MASS, MASS[vehicle])
    share = np.where(opponent == 0, 1.0, MASS[opponent] / (mass + MASS[opponent]))
    own = np.where(foot == 1, ON_FOOT_KIND, np.where(vehicle == UNKNOWN_KIND, np.nan, vehicle))
    kind = np.where(opponent == UNKNOWN_KIND, np.nan, opponent)
    table = np.stack([own, kind, np.log(MASS[opponent] / mass), share]).astype(np.float32)
    table.setflags(write=False)
    return table
