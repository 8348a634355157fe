"""Settings of the movie model: where its data comes from, how it is trained and promoted."""

from __future__ import annotations

from pydantic import BaseModel, Field

from accident_reco.settings import Settings


class MovieData(BaseModel):
    """Movie data."""

    movies_source: str = Field("sample", description="`sample`, `official`, or a directory/URL with MovieLens files")
    movies_dataset: str = Field(
        "ml-latest-small",
        pattern=r"^ml-[a-z0-9-]{1,20}$",
        description="MovieLens set that `official` downloads: ml-latest-small, ml-latest, ml-32m, ml-1m …",
    )
    movies_sample_ratings: int = Field(
        60_000, ge=2_000, le=50_000_000, description="Ratings of the movie sample, about"
    )
    movies_sample_movies: int = Field(
        0, ge=0, le=500_000, description="Movies of the movie sample; 0: a sixtieth of the ratings"
    )
    retrain_new_rows: int = Field(5000, ge=1, description="New ratings after which movies are trained again")


class MovieTraining(BaseModel):
    """Movie model: training and promotion."""

    movies_min_user_ratings: int = Field(5, ge=1, description="Ratings that a user needs to take part in training")
    movies_min_movie_ratings: int = Field(3, ge=1, description="Ratings that a movie needs to take part in training")
    movies_max_ratings: int = Field(
        5_000_000, ge=1_000, description="Ratings that a training reads, about: whole users, chosen by hash"
    )
    movies_holdout_share: float = Field(
        0.2, gt=0, lt=0.9, description="Share of (user, movie) pairs that judge and never train; frozen once in use"
    )
    movies_rmse_tolerance: float = Field(
        0.05,
        ge=0,
        description="How far above the best RMSE (a share) a movie candidate may lie and still win by NDCG@10",
    )
    movies_floor: float = Field(0.02, ge=0, le=1, description="NDCG@10 below which no movie version serves")
    movies_minimum_gain: float = Field(0.002, ge=0, description="Gain in NDCG@10 that is worth a new movie version")
    movies_rmse_slack: float = Field(
        0.02, ge=0, description="RMSE that a new movie version may lose against the champion"
    )
    movies_half_life_days: float = Field(
        1460.0, gt=0, description="Age at which a rating counts half for what is popular"
    )


class MovieSettings(MovieData, MovieTraining, Settings):
    """The platform's settings with those of the movie model."""
