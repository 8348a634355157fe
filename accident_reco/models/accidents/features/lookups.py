"""Lookup tables of the derived features: one indexing operation for any number of rows.

The last entry of every table is for unknown, which index -1 reads.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.context import classify_vehicles
from accident_reco.models.accidents.features.context_columns import N_KINDS

# Approximate masses by kind of vehicle; only large ratios matter.
VEHICLE_MASS_KG: Final = np.array(
    [np.nan, np.nan, 90, 95, 180, 280, 450, 1_400, 2_200, 8_000, 14_000, 20_000, 50_000, np.nan], dtype=np.float64
)
PEDESTRIAN_MASS_KG: Final = 75.0
PEDESTRIAN_KIND: Final = N_KINDS
UNKNOWN_KIND: Final = N_KINDS


def _build_hours() -> NDArray[np.float32]:
    table = np.full(2402, np.nan, dtype=np.float32)
    code = np.arange(2400)
    table[:2400] = code // 100 + code % 100 / 60
    return table


def _build_speeds() -> NDArray[np.float32]:
    # Speed limits above 130 km/h exist in the files (up to 900) but not on roads.
    table = np.full(133, np.nan, dtype=np.float32)
    table[5:131] = np.arange(5, 131)
    return table


HOUR: Final = _build_hours()
SPEED: Final = _build_speeds()

EQUIPMENT: Final = (
    *("unequipped", "belt", "helmet", "child_seat", "vest", "airbag", "gloves", "equipment_undetermined"),
)
# secu codes from -1 as bits: 0 none, 1 belt, 2 helmet, 3 child seat, 4 vest, 5 airbag, 6 gloves, 7 both,
# 8 undetermined. Bit 256: the code is known; 9 and later codes are other equipment.
_SECU_BITS: Final = np.array([0, 257, 258, 260, 264, 272, 288, 320, 352, 384, 256, 256], dtype=np.int64)
_BITS: Final = (1 << np.arange(len(EQUIPMENT), dtype=np.int64)).reshape(-1, 1, 1, 1)


@cache
def build_equipment_table() -> NDArray[np.float32]:
    """`EQUIPMENT` by the three `secu` codes from -1, shape (8, 12, 12, 12); NaN where none of them is known."""
    one = _SECU_BITS
    bits = one[:, None, None] | one[:, None] | one
    table = np.where(bits == 0, np.nan, (bits & _BITS) != 0).astype(np.float32)
    table.setflags(write=False)
    return table


def classify_known_vehicles(catv: NDArray[np.int64]) -> NDArray[np.int64]:
    """Kind of vehicle of each `catv` code, shape (n,), `UNKNOWN_KIND` where it is unknown."""
    return np.where(catv < 0, UNKNOWN_KIND, classify_vehicles(catv))


@cache
def build_collision_table() -> NDArray[np.float32]:
    """Own kind, the opponent's kind, log of the mass ratio, and relative change of speed.

    Shape (4, 2, kinds + 1, kinds + 1), indexed by: on foot, kind of vehicle, kind of the heaviest other vehicle. In a
    perfectly inelastic collision a party of mass m changes its speed v by v·M/(m+M) against one of mass M, the physical
    quantity that severity depends on most. Without an opponent the change is v.
    """
    foot, vehicle, other = np.meshgrid(np.arange(2), np.arange(N_KINDS + 1), np.arange(N_KINDS + 1), indexing="ij")
    # A pedestrian's vehicle in BAAC is the one that hit them.
    opponent = np.where(foot == 1, vehicle, other)
    mass = np.where(foot == 1, PEDESTRIAN_MASS_KG, VEHICLE_MASS_KG[vehicle])
    share = np.where(opponent == 0, 1.0, VEHICLE_MASS_KG[opponent] / (mass + VEHICLE_MASS_KG[opponent]))
    own = np.where(foot == 1, PEDESTRIAN_KIND, np.where(vehicle == UNKNOWN_KIND, np.nan, vehicle))
    kind = np.where(opponent == UNKNOWN_KIND, np.nan, opponent)
    table = np.stack([own, kind, np.log(VEHICLE_MASS_KG[opponent] / mass), share]).astype(np.float32)
    table.setflags(write=False)
    return table
