"""Kinds that are made of other kinds: the arrays of each part under the name `<kind>:<array>`. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from accident_reco.models.movies.candidates.candidate import Fit, MovieCandidate, spread_movies
from accident_reco.models.movies.candidates.scorer import BaselineScorer, UserState


@dataclass(frozen=True)
class PartsState(UserState):
    """State of the user in each part, in the order of the parts."""

    parts: tuple[UserState, ...] = ()


def pack_parts(fits: Mapping[str, Fit], whole: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays and options of the fits by kind, as arrays of one fit.

    Args:
        whole: arrays of the kind that has the parts; a part's array that equals that of the whole is left out, since
            scorers of parts read what they lack from the whole.
    """
    return {
        f"{kind}:{name}": values
        for kind, fit in fits.items()
        for name, values in {**fit.arrays, **pack_options(fit.options)}.items()
        if name not in whole or not np.array_equal(values, whole[name])
    }


def pack_options(options: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Options of a fit as a bundle holds them."""
    return {f"option_{name}": np.array(float(value)) for name, value in options.items()}


def select_part(arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """Arrays of one part under its own names."""
    prefix = f"{kind}:"
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def build_parts(arrays: Mapping[str, np.ndarray], parts: Mapping[str, MovieCandidate]) -> list[BaselineScorer]:
    """Scorers of the parts of a bundle."""
    return [part.scorer({**arrays, **select_part(arrays, kind)}) for kind, part in parts.items()]


def spread_parts(
    arrays: Mapping[str, np.ndarray], place: np.ndarray, size: int, parts: Mapping[str, MovieCandidate]
) -> dict[str, np.ndarray]:
    """Arrays over the movies of a catalogue, each part spread as it spreads itself."""
    spread = spread_movies({name: values for name, values in arrays.items() if ":" not in name}, place, size)
    for kind, part in parts.items():
        own = part.spread(select_part(arrays, kind), place, size)
        spread |= {f"{kind}:{name}": values for name, values in own.items()}
    return spread
