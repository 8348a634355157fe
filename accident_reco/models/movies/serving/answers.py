"""Shapes of the movie endpoints' answers, for the documentation; the fields of a movie are `scoring.answer.FIELDS`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, create_model

from accident_reco.models.movies.scoring.answer import FIELDS, AnswerField, Reason
from serving.predict.schemas import ServedVersion


def _shape(field: AnswerField) -> Any:
    if field.on_request:
        return field.kind | None, Field(None, description=field.description)
    return field.kind, Field(description=field.description)


RecommendedMovie = create_model(
    "RecommendedMovie", __doc__="One movie of an answer.", **{field.name: _shape(field) for field in FIELDS}
)


class MoviesAnswer(ServedVersion):
    """Answer of `POST /predict/movies`."""

    prediction_id: str = Field(description="Id of this answer in the prediction log")
    user_id: int | None = None
    reason: Reason = Field(description="How the list was found")
    note: str | None = Field(None, description="What the user should know: a fallback, or why the list is empty")
    movies: list[RecommendedMovie]  # type: ignore[valid-type]


class BatchAnswer(ServedVersion):
    """Answers in the order of the requests."""

    answers: list[MoviesAnswer]


class SimilarAnswer(ServedVersion):
    """Movies similar to one movie."""

    movie_id: int
    title: str
    note: str | None = None
    movies: list[RecommendedMovie]  # type: ignore[valid-type]


class FoundMovie(BaseModel):
    """One movie of a title search."""

    movie_id: int
    title: str
    genres: list[str]
    year: int | None
    ratings: int = Field(description="Ratings that the version was trained on")


class SearchAnswer(ServedVersion):
    """Movies whose titles contain every word of the query, most rated first; or movies by id, in the given order."""

    query: str | None
    movies: list[FoundMovie]


class GenresAnswer(ServedVersion):
    """Genres of the catalogue."""

    genres: list[str] = Field(description="Names that `genres` and `exclude_genres` accept, sorted")


class StoredRating(BaseModel):
    """One rating of a stored user."""

    movie_id: int
    title: str | None
    genres: list[str]
    rating: float = Field(description="Stars")
    rated_at: int = Field(description="Seconds since 1970 UTC")
    simulated: bool


class UserRatingsAnswer(BaseModel):
    """Ratings of a user, newest first."""

    user_id: int
    number: int = Field(description="Number of all ratings of the user; 0: the user is not stored")
    ratings: list[StoredRating]


class RatingsAnswer(BaseModel):
    """Outcome of writing ratings."""

    received: int = Field(description="Ratings in the request, or simulated")
    inserted: int
    updated: int = Field(description="Ratings that replaced an earlier one of the same user and movie")
    unchanged: int = Field(description="Ratings that were stored already")
    users: int
    new_users: int = Field(description="Users without an earlier rating")
    simulated: bool
