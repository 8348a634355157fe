"""Shapes of the movie endpoints' requests and answers. Rules that need the catalogue are the endpoints'."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.predict.schemas import ServedVersion

MAX_ID: Final = 2**31 - 1
MAX_RATINGS: Final = 1_000
MAX_BATCH: Final = 100

UserId = Annotated[int, Field(strict=True, ge=1, le=MAX_ID, description="Stored user")]
MovieId = Annotated[int, Field(strict=True, ge=1, le=MAX_ID, description="MovieLens movie id")]
Stars = Annotated[float, Field(strict=True, ge=0.5, le=5, multiple_of=0.5, description="Stars, 0.5 to 5 in half steps")]
Genres = Annotated[list[Annotated[str, Field(min_length=1, max_length=32)]], Field(max_length=20)]


class Strict(BaseModel):
    """A body that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid")


class GivenRating(Strict):
    """One rating in a request."""

    movie_id: MovieId
    rating: Stars


class MoviesRequest(Strict):
    """Who asks (a stored user, or ratings of somebody who is not stored, or nobody) and what for."""

    user_id: UserId | None = None
    ratings: Annotated[
        list[GivenRating] | None,
        Field(
            min_length=1, max_length=MAX_RATINGS, description="Ratings of this request, one or more; nothing is kept"
        ),
    ] = None
    count: Annotated[int, Field(strict=True, ge=1, le=100, description="How many movies")] = 10
    genres: Annotated[Genres, Field(description="Only movies of any of these genres")] = []
    exclude_genres: Annotated[Genres, Field(description="No movie of any of these genres")] = []
    include_seen: Annotated[bool, Field(description="Leave movies in that the person has rated")] = False
    diversity: Annotated[float, Field(strict=True, ge=0, le=1, description="0: best first; towards 1: less alike")] = (
        0.0
    )
    because: Annotated[bool, Field(description="Say which rated movies a recommendation goes back to")] = False

    @model_validator(mode="after")
    def _one_person(self) -> MoviesRequest:
        if self.user_id is not None and self.ratings is not None:
            raise ValueError("give user_id or ratings, not both")
        return self


class BatchRequest(Strict):
    """Several requests in one call."""

    requests: Annotated[list[MoviesRequest], Field(min_length=1, max_length=MAX_BATCH)]


class RatedMovie(Strict):
    """A rating that somebody gave."""

    user_id: UserId
    movie_id: MovieId
    rating: Stars
    rated_at: Annotated[
        int | None, Field(strict=True, ge=694_224_000, description="Seconds since 1970 UTC; now if absent")
    ] = None


class RatingsFeedback(Strict):
    """New ratings, of one user or several."""

    ratings: Annotated[list[RatedMovie], Field(min_length=1, max_length=MAX_RATINGS)]


class GenerateRequest(Strict):
    """How many ratings to make up, from which seed, and how far from the usual."""

    count: Annotated[int, Field(strict=True, ge=1, le=20_000, description="Ratings to make up")] = 1_000
    seed: Annotated[int, Field(strict=True, ge=0, le=2**31, description="The same seed makes the same ratings")] = 0
    shift: Annotated[
        float,
        Field(
            strict=True,
            ge=0,
            le=1,
            description="0: like the ratings so far; 1: sterner and of other movies, to provoke drift",
        ),
    ] = 0.0


class Because(BaseModel):
    """A rated movie that a recommendation goes back to."""

    movie_id: int
    title: str
    rating: float


class Recommended(BaseModel):
    """One movie of an answer."""

    movie_id: int
    title: str
    genres: list[str]
    score: float = Field(description="What the list is ordered by; comparable within one answer only")
    predicted_rating: float = Field(description="Expected stars of this person (of everybody where nobody is known)")
    reason: Literal["personalised", "fold_in", "similar", "popular"]
    because: list[Because] | None = None


class MoviesAnswer(ServedVersion):
    """Answer of `POST /predict/movies`."""

    prediction_id: str = Field(description="Id of this answer in the prediction log")
    user_id: int | None = None
    reason: Literal["personalised", "fold_in", "similar", "popular"] = Field(description="How the list was found")
    note: str | None = Field(None, description="What the person should know: a fallback, or why the list is empty")
    movies: list[Recommended]


class BatchAnswer(ServedVersion):
    """Answers in the order of the requests."""

    answers: list[MoviesAnswer]


class SimilarAnswer(ServedVersion):
    """Movies like one movie."""

    movie_id: int
    title: str
    note: str | None = None
    movies: list[Recommended]


class FoundMovie(BaseModel):
    """One movie of a title search."""

    movie_id: int
    title: str
    genres: list[str]
    year: int | None
    ratings: int = Field(description="Ratings that the version was trained on")


class SearchAnswer(ServedVersion):
    """Movies whose titles hold every word of the query, most rated first."""

    query: str
    movies: list[FoundMovie]


class WrittenAnswer(BaseModel):
    """What was really written."""

    received: int = Field(description="Ratings in the request, or made up")
    inserted: int
    updated: int = Field(description="Ratings that replaced an earlier one of the same user and movie")
    unchanged: int = Field(description="Ratings that were there already")
    users: int
    new_users: int = Field(description="Users that had no rating before")
    simulated: bool
