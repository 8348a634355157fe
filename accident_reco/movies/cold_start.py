"""Decides how a person is answered, from what is known of them. Pure; the one place of the cold-start rule."""

from dataclasses import dataclass
from typing import Literal

Way = Literal["personalised", "fold_in", "popular"]


@dataclass(frozen=True)
class Plan:
    """The way taken and why, word for word as the answer gives it (None where there is nothing to explain)."""

    way: Way
    note: str | None = None


def plan(
    *, asked_for_user: bool, in_model: bool, newer_ratings: bool, stored: int, given: int, given_unknown: int
) -> Plan:
    """Choose between the user's own factors, folding ratings in, and what is popular.

    Args:
        asked_for_user: the request names a stored user (not ratings of its own).
        in_model: the version was trained on that user.
        newer_ratings: the user has rated since the version's training rows were read.
        stored: the user's ratings in the warehouse of movies that the version knows.
        given: ratings in the request of movies that the version knows.
        given_unknown: ratings in the request of movies that it does not know.
    """
    if not asked_for_user:
        if given:
            ignored = f"{given_unknown} rated movies are unknown to this version and were left out"
            return Plan("fold_in", ignored if given_unknown else None)
        if given_unknown:
            return Plan("popular", "none of the rated movies is known to this version: what is popular instead")
        return Plan("popular", "no user and no ratings given: what is popular")
    if in_model and not newer_ratings:
        return Plan("personalised")
    if stored:
        why = (
            "rated movies since this version was trained"
            if in_model
            else "is not among those this version was trained on"
        )
        return Plan("fold_in", f"the user {why}: folded in from the stored ratings")
    if in_model:
        return Plan("personalised", "the user's stored ratings are not at hand: seen movies may be among these")
    return Plan("popular", "the user is unknown: what is popular")
