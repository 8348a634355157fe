"""Chooses how a request is answered from what is known of the user. Pure; the one place of the cold-start rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Strategy = Literal["personalised", "fold_in", "popular"]


@dataclass(frozen=True)
class Plan:
    """The strategy, and its reason as the answer's `note` has it (None where there is nothing to explain)."""

    strategy: Strategy
    note: str | None = None


def choose_strategy(
    *, for_stored_user: bool, in_model: bool, newer_ratings: bool, known: int, unknown: int, by_history: bool = False
) -> Plan:
    """Choose between the user's own factors, folding ratings in, and popular movies.

    Args:
        for_stored_user: the request names a stored user (and has no ratings of its own).
        in_model: the version was trained on that user.
        newer_ratings: the user has rated since the version's training rows were read.
        known: ratings, of the request or else of the stored user, of movies that the version knows.
        unknown: those of movies that it does not know.
        by_history: the version knows also the users it was trained on by their ratings alone.
    """
    if not for_stored_user:
        if known:
            ignored = f"{unknown} of the rated movies are unknown to this version and were ignored"
            return Plan("fold_in", ignored if unknown else None)
        if unknown:
            return Plan("popular", "none of the rated movies is known to this version: popular movies instead")
        return Plan("popular", "the request has no user and no ratings: popular movies")
    if in_model and not newer_ratings and (known or not by_history):
        return Plan("personalised")
    if known:
        why = (
            "rated movies since this version was trained"
            if in_model
            else "is not among those this version was trained on"
        )
        return Plan("fold_in", f"the user {why}: folded in from the stored ratings")
    if in_model and not by_history:
        return Plan("personalised", "the user's stored ratings are not available: movies seen may be among these")
    if unknown:
        return Plan("popular", "this version knows none of the movies that the user has rated: popular movies")
    if in_model:
        return Plan("popular", "the user's stored ratings are not available: popular movies, some of them maybe seen")
    return Plan("popular", "the user is unknown: popular movies")
