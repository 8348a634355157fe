"""Severities of a sample: an ordered logit whose weights were fitted on the published year 2024.

Rounded maximum-likelihood estimates; an ordered logit with these weights has a ROC AUC of 0.84 on the year 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.integer]

CUTS: Final = (0.2, 3.21, 5.68)
# Until 2017 more injured counted as hospitalised (another definition): a lower second cut.
CUTS_UNTIL_2017: Final = (0.2, 2.35, 5.4)
# Below 1 the severity depends more on the circumstances than in real data, so that small samples are learnable too.
NOISE: Final = 0.9

_FRAGILE: Final = (1, 2, 30, 31, 32, 33, 34, 35, 36, 41, 42, 43, 50, 60, 80)
_HEAVY: Final = (13, 14, 15, 16, 17, 20, 21, 37, 38, 39, 40)


def compute_propensity(p: Mapping[str, Column], speed: Column) -> NDArray[np.float64]:
    """Latent severity of every user, shape (n,), from merged columns and context; `speed` is the limit in km/h."""
    catv, walks, other = p["catv"], p["catu"] == 3, p["other_kind"]
    rides = ~walks
    fragile = walks | np.isin(catv, _FRAGILE)
    sheltered = ~fragile
    heavy = np.isin(catv, _HEAVY)
    age = np.where(p["an_nais"] > 0, p["an"] - p["an_nais"], 38)
    rural = p["agg"] == 1
    small = np.isin(other, (2, 3, 4, 5))
    met_walker = p["nb_pedestrians"] > 0
    terms: list[tuple[float, NDArray[np.bool_]]] = [
        (2.23, walks),
        (0.32, p["catu"] == 2),
        (-1.46, rides & heavy),
        (-0.45, rides & (catv == 10)),
        (1.99, rides & np.isin(catv, (31, 32, 33, 34, 35, 36, 41, 42, 43))),
        (0.27, rides & (catv == 33)),
        (1.97, rides & np.isin(catv, (2, 30))),
        (2.03, rides & np.isin(catv, (1, 80))),
        (1.77, rides & np.isin(catv, (50, 60))),
        (-3.29, sheltered & met_walker),
        (-3.55, sheltered & ~met_walker & small),
        (1.18, sheltered & (other >= 9)),
        (0.96, sheltered & (other == 0) & ~met_walker),
        (0.63, fragile & ((other >= 9) | (walks & heavy))),
        (-1.35, fragile & small),
        (-2.59, fragile & rides & met_walker),
        (-0.11, age < 15),
        (0.16, (age >= 45) & (age < 65)),
        (0.52, (age >= 65) & (age < 75)),
        (0.96, age >= 75),
        (0.31, p["sexe"] == 2),
        (0.39, rural),
        (0.31, p["lum"] == 3),
        (0.14, p["lum"] == 5),
        (0.7, p["col"] == 1),
        (0.49, (p["col"] == 1) & rural),
        (0.24, p["col"] == 3),
        (-0.28, p["col"] == 4),
        (0.84, np.isin(p["obs"], (2, 6, 7, 8, 9, 10))),
        (0.42, np.isin(p["obs"], (2, 6, 8)) & (speed >= 70)),
        (0.49, np.isin(p["obs"], (3, 4, 5, 13, 16, 17))),
        (0.35, np.isin(p["obs"], (1, 11, 12, 14, 15))),
        (0.31, p["choc"] == 9),
        (1.46, rides & (p["secu1"] == 0) & ~np.isin(catv, (1, 50, 60, 80))),
        (-0.53, p["catr"] == 1),
        (0.26, p["catr"] == 3),
        (0.35, np.isin(p["manv"], (13, 14))),
        (-0.17, np.isin(p["manv"], (9, 10, 15, 16))),
        (-0.15, p["surf"] == 2),
    ]
    latent = 0.35 * (speed - 50) / 50 - 0.23 * (np.minimum(p["nb_users"], 6) - 2)
    for weight, applies in terms:
        latent += weight * applies
    return latent


def draw_severity(
    rng: np.random.Generator,
    latent: NDArray[np.float64],
    accident: NDArray[np.int64],
    fled: NDArray[np.bool_],
    year: int,
) -> NDArray[np.int64]:
    """grav of every user, shape (n,); unharmed for those who fled. Every accident has an injured user, as in BAAC."""
    cuts = CUTS_UNTIL_2017 if year < 2018 else CUTS
    grav = np.array([1, 4, 3, 2])[np.searchsorted(cuts, latent + NOISE * rng.logistic(size=len(latent)))]
    grav[fled] = 1
    order = np.lexsort((np.where(fled, -np.inf, latent), accident))
    last = np.append(accident[order][1:] != accident[order][:-1], True)
    worst = order[last]
    hurt = np.zeros(accident.max(initial=-1) + 1, dtype=bool)
    hurt[accident[grav != 1]] = True
    grav[worst[~hurt[accident[worst]]]] = 4
    return grav
