"""Decides how a person is answered, from what is known of them. Pure; the one place of the cold-start rule."""

from dataclasses import dataclass
from typing import Literal

Way = Literal["personalised", "fold_in", "popular"]


@dataclass(frozen=True)
class Plan:
    """The way taken and why, word for word as the answer gives it (None where there is nothing to explain)."""

    way: Way
    note: str | None = None


def plan(*, asked_for_user: bool, in_model: bool, newer_ratings: bool, known: int, unknown: int) -> Plan:
    """Choose between the user's own factors, folding ratings in, and what is popular.

    Args:
        asked_for_user: the request names a stored user (not ratings of its own).
        in_model: the version was trained on that user.
        newer_ratings: the user has rated since the version's training rows were read.
        known: ratings, of the request or else of the stored user, of movies that the version knows.
        unknown: those of movies that it does not know.
    """
    if not asked_for_user:
        if known:
            ignored = f"{unknown} of the rated movies are unknown to this version and were left out"
            return Plan("fold_in", ignored if unknown else None)
        if unknown:
            return Plan("popular", "none of the rated movies is known to this version: what is popular instead")
        return Plan("popular", "no user and no ratings given: what is popular")
    if in_model and not newer_ratings:
        return Plan("personalised")
    if known:
        why = (
            "rated movies since this version was trained"
            if in_model
            else "is not among those this version was trained on"
        )
        return Plan("fold_in", f"the user {why}: folded in from the stored ratings")
    if in_model:
        return Plan("personalised", "the user's stored ratings are not at hand: seen movies may be among these")
    if unknown:
        return Plan("popular", "this version knows none of the movies that the user has rated: what is popular")
    return Plan("popular", "the user is unknown: what is popular")
