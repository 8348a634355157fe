"""Settings of the movie model: data source, training and promotion."""

from __future__ import annotations

from importlib.util import find_spec

from pydantic import BaseModel, Field, model_validator

from accident_reco.settings import Settings


class MovieData(BaseModel):
    """Movie data."""

    movies_source: str = Field("sample", description="`sample`, `official`, or a directory/URL with MovieLens files")
    movies_dataset: str = Field(
        "ml-latest-small",
        pattern=r"^ml-[a-z0-9-]{1,20}$",
        description="MovieLens set that `official` downloads: ml-latest-small, ml-latest, ml-32m, ml-1m …",
    )
    movies_watch_seconds: int = Field(
        120,
        ge=1,
        description="Interval of the sensor of movie files; a publisher's server is requested at most once an hour",
    )
    movies_sample_ratings: int = Field(
        60_000, ge=2_000, le=50_000_000, description="Approximate number of ratings of the movie sample"
    )
    movies_sample_movies: int = Field(
        0, ge=0, le=500_000, description="Movies of the movie sample; 0: one per 60 ratings"
    )
    retrain_new_rows: int = Field(5000, ge=1, description="New ratings that trigger a training of the movie model")


class MovieTraining(BaseModel):
    """Movie model: training and promotion."""

    movies_min_user_ratings: int = Field(5, ge=1, description="Minimum ratings of a user in training")
    movies_min_movie_ratings: int = Field(3, ge=1, description="Minimum ratings of a movie in training")
    movies_max_ratings: int = Field(
        0,
        ge=0,
        description="Approximate maximum of ratings that the run's processes read: whole users, chosen by hash; 0: all "
        "ratings. A fit on Spark reads all of them",
    )
    movies_holdout_share: float = Field(
        0.2,
        gt=0,
        lt=0.9,
        description="Share of (user, movie) pairs in the holdout, which never trains; frozen once in use",
    )
    movies_rmse_tolerance: float = Field(
        0.05,
        ge=0,
        description="Without effect since a movie version has a head for the order and one for stars; kept for "
        "existing configurations",
    )
    movies_floor: float = Field(0.02, ge=0, le=1, description="Minimum NDCG@10 of a movie version that is promoted")
    movies_minimum_gain: float = Field(0.002, ge=0, description="Minimum gain in NDCG@10 over the movie champion")
    movies_rmse_slack: float = Field(0.02, ge=0, description="Maximum increase in RMSE over the movie champion")
    movies_half_life_days: float = Field(
        1460.0, gt=0, description="Half-life in days of a rating in the popularity ranking"
    )


class SparkSettings(BaseModel):
    """Movie model: Spark."""

    spark_master: str = Field(
        "",
        pattern=r"^($|spark://.+|k8s://.+|yarn$|local(-cluster)?(\[.+\])?$)",
        description="Spark master that fits the ranking candidate by MLlib to all ratings: spark://host:7077, "
        "k8s://https://host:443, yarn, local-cluster[2,1,2048]; empty: the machine of the run fits it",
    )


class MovieSettings(MovieData, MovieTraining, SparkSettings, Settings):
    """The platform's settings with those of the movie model."""

    @model_validator(mode="after")
    def _spark_is_installed(self) -> MovieSettings:
        if self.spark_master and find_spec("pyspark") is None:
            raise ValueError("ACCIDENT_RECO_SPARK_MASTER needs pyspark: install accident-reco[spark]")
        return self
