"""Kinds of road users by their codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from accident_reco.models.accidents.scoring.user_groups import KINDS_OF_USER, UNKNOWN, classify_users

CAR, BICYCLE, MOPED, TRAM, NO_SUCH_VEHICLE = 7, 1, 2, 40, 98


@pytest.mark.parametrize(
    ("catu", "catv", "kind"),
    [
        (3, CAR, "on foot"),
        (3, -1, "on foot"),
        (1, CAR, "car or van"),
        (2, BICYCLE, "cycle"),
        (1, MOPED, "moped or motorcycle"),
        (4, TRAM, "other vehicle"),
        (9, CAR, "car or van"),
        (1, NO_SUCH_VEHICLE, "other vehicle"),
        (1, 250, "other vehicle"),
        (1, -1, None),
        (0, CAR, None),
        (-1, CAR, None),
        (-1, -1, None),
    ],
)
@pytest.mark.parametrize("kind_of_number", [np.int32, np.int64, np.float64])
def test_kind_of_user(catu: int, catv: int, kind: str | None, kind_of_number: Any) -> None:
    """On foot whatever the vehicle; else both codes are needed, and codes that are not in the codebook are others."""
    columns = {"catu": np.array([catu], dtype=kind_of_number), "catv": np.array([catv], dtype=kind_of_number)}
    expected = UNKNOWN if kind is None else KINDS_OF_USER.index(kind)
    assert classify_users(columns).tolist() == [expected]


def test_absent_columns_are_unknown() -> None:
    """A request may have neither."""
    assert classify_users({"agg": np.array([1, 2])}).tolist() == [UNKNOWN, UNKNOWN]
    assert classify_users({"catu": np.array([3, 1])}).tolist() == [0, UNKNOWN]
