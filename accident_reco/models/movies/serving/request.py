"""Shapes of the movie endpoints' requests. Rules that need the catalogue are in the endpoints."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from accident_reco.models.movies.data.bounds import MAX_ID, MIN_RATED_AT
from serving.common.body_limits import FewErrors

MAX_RATINGS: Final = 1_000
MAX_BATCH: Final = 100
MAX_IDS: Final = 40
"""Ids in a URL, which has a limited number of parameters."""

UserId = Annotated[int, Field(strict=True, ge=1, le=MAX_ID, description="Stored user")]
MovieId = Annotated[int, Field(strict=True, ge=1, le=MAX_ID, description="MovieLens movie id")]
Stars = Annotated[float, Field(strict=True, ge=0.5, le=5, multiple_of=0.5, description="Stars, 0.5 to 5 in half steps")]
Genres = Annotated[list[Annotated[str, Field(min_length=1, max_length=32)]], Field(max_length=20)]


class StrictBody(BaseModel):
    """A body that rejects unknown fields."""

    model_config = ConfigDict(extra="forbid")


class RequestRating(StrictBody):
    """One rating in a request."""

    movie_id: MovieId
    rating: Stars


class MoviesRequest(StrictBody):
    """A stored user, or ratings of a user who is not stored, or neither; and the options of the list."""

    user_id: UserId | None = None
    ratings: Annotated[
        Annotated[list[RequestRating], Field(min_length=1, max_length=MAX_RATINGS), FewErrors()] | None,
        Field(description="Ratings of this request; they are not stored"),
    ] = None
    count: Annotated[int, Field(strict=True, ge=1, le=100, description="Number of movies")] = 10
    genres: Annotated[Genres, Field(description="Only movies of any of these genres")] = []
    exclude_genres: Annotated[Genres, Field(description="No movie of any of these genres")] = []
    include_seen: Annotated[bool, Field(description="Include movies that the user has rated")] = False
    diversity: Annotated[
        float, Field(strict=True, ge=0, le=1, description="0: best first; towards 1: less similar movies")
    ] = 0.0
    because: Annotated[bool, Field(description="Include the rated movies that a recommendation is based on")] = False

    @model_validator(mode="after")
    def _check_one_user(self) -> MoviesRequest:
        if self.user_id is not None and self.ratings is not None:
            raise ValueError("set user_id or ratings, not both")
        return self


class BatchRequest(StrictBody):
    """Several requests in one call."""

    requests: Annotated[list[MoviesRequest], Field(min_length=1, max_length=MAX_BATCH), FewErrors()]


class RatedMovie(StrictBody):
    """A rating of a user."""

    user_id: UserId
    movie_id: MovieId
    rating: Stars
    rated_at: Annotated[
        int | None, Field(strict=True, ge=MIN_RATED_AT, description="Seconds since 1970 UTC; now if absent")
    ] = None


class RatingsFeedback(StrictBody):
    """New ratings, of one user or several."""

    ratings: Annotated[list[RatedMovie], Field(min_length=1, max_length=MAX_RATINGS), FewErrors()]


class GenerateRequest(StrictBody):
    """Number, seed and shift of the ratings to simulate."""

    count: Annotated[int, Field(strict=True, ge=1, le=20_000, description="Ratings to simulate")] = 1_000
    seed: Annotated[int, Field(strict=True, ge=0, le=2**31, description="The same seed gives the same ratings")] = 0
    shift: Annotated[
        float,
        Field(
            strict=True,
            ge=0,
            le=1,
            description="0: like the ratings so far; 1: lower and of other movies, to provoke drift",
        ),
    ] = 0.0
