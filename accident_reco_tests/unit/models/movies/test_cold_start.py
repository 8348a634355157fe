"""The cold-start rule: the strategy and its note in full, for every combination of what may be known of a user."""

import pytest

from accident_reco.models.movies.scoring.cold_start import Plan, choose_strategy

IGNORED = "2 of the rated movies are unknown to this version and were ignored"
NONE_KNOWN = "none of the rated movies is known to this version: popular movies instead"
NOTHING = "the request has no user and no ratings: popular movies"
SINCE = "the user rated movies since this version was trained: folded in from the stored ratings"
LATER = "the user is not among those this version was trained on: folded in from the stored ratings"
NOT_AT_HAND = "the user's stored ratings are not available: movies seen may be among these"
WITHOUT = "the user's stored ratings are not available: popular movies, some of them maybe seen"
NO_MOVIES = "this version knows none of the movies that the user has rated: popular movies"
UNKNOWN_USER = "the user is unknown: popular movies"


@pytest.mark.parametrize("in_model", [False, True])
@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize(
    ("known", "unknown", "way", "note"),
    [
        (1, 0, "fold_in", None),
        (1, 2, "fold_in", IGNORED),
        (0, 2, "popular", NONE_KNOWN),
        (0, 1, "popular", NONE_KNOWN),
        (0, 0, "popular", NOTHING),
    ],
)
def test_ratings_in_the_request_describe_the_user(known, unknown, way, note, newer, in_model) -> None:
    """Without a stored user only the request's own ratings count."""
    made = choose_strategy(for_stored_user=False, in_model=in_model, newer_ratings=newer, known=known, unknown=unknown)
    assert made == Plan(way, note)


@pytest.mark.parametrize(
    ("in_model", "newer", "known", "unknown", "way", "note"),
    [
        # Trained on the user, nothing newer: the user's own factors, whatever is stored.
        (True, False, 9, 0, "personalised", None),
        (True, False, 0, 3, "personalised", None),
        (True, False, 0, 0, "personalised", None),
        # Trained on the user, who has rated since.
        (True, True, 1, 0, "fold_in", SINCE),
        (True, True, 1, 3, "fold_in", SINCE),
        (True, True, 0, 3, "personalised", NOT_AT_HAND),
        (True, True, 0, 0, "personalised", NOT_AT_HAND),
        # A user who came later; whether ratings are newer than the version has no meaning then.
        *((False, newer, 1, 0, "fold_in", LATER) for newer in (False, True)),
        *((False, newer, 1, 3, "fold_in", LATER) for newer in (False, True)),
        *((False, newer, 0, 3, "popular", NO_MOVIES) for newer in (False, True)),
        *((False, newer, 0, 0, "popular", UNKNOWN_USER) for newer in (False, True)),
    ],
)
def test_a_stored_user_by_what_the_version_knows(in_model, newer, known, unknown, way, note) -> None:
    """Own factors, else folded in, else popular; each fallback states its reason."""
    made = choose_strategy(for_stored_user=True, in_model=in_model, newer_ratings=newer, known=known, unknown=unknown)
    assert made == Plan(way, note)


@pytest.mark.parametrize(
    ("in_model", "newer", "known", "unknown", "way", "note"),
    [
        (True, False, 1, 0, "personalised", None),
        (True, True, 1, 0, "fold_in", SINCE),
        (False, False, 1, 0, "fold_in", LATER),
        *((True, newer, 0, 3, "popular", NO_MOVIES) for newer in (False, True)),
        *((True, newer, 0, 0, "popular", WITHOUT) for newer in (False, True)),
        *((False, newer, 0, 3, "popular", NO_MOVIES) for newer in (False, True)),
        *((False, newer, 0, 0, "popular", UNKNOWN_USER) for newer in (False, True)),
    ],
)
def test_versions_that_know_users_by_their_ratings(in_model, newer, known, unknown, way, note) -> None:
    """Without the ratings such a version knows nothing of a user it was trained on: popular, not personalised."""
    made = choose_strategy(
        for_stored_user=True, in_model=in_model, newer_ratings=newer, known=known, unknown=unknown, by_history=True
    )
    assert made == Plan(way, note)


@pytest.mark.parametrize("by_history", [False, True])
def test_ratings_of_the_request_count_in_every_version(by_history) -> None:
    """How a version knows its own users makes no difference to a user who is not stored."""
    for known, way, note in ((1, "fold_in", None), (0, "popular", NOTHING)):
        made = choose_strategy(
            for_stored_user=False, in_model=False, newer_ratings=False, known=known, unknown=0, by_history=by_history
        )
        assert made == Plan(way, note)
