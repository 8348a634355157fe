"""What can be set, by area: each field with its type, bounds, description and a default that works embedded.

Fields only; `settings.py` reads them from the environment and derives what follows from them. The README's tables are
made of these groups: a group's docstring is its heading.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field

PREFIX = "ACCIDENT_RECO_"


class Places(BaseModel):
    """Where things are kept."""

    home: Path = Field(
        Path(".accident_reco"), description="Directory that holds everything the embedded default writes"
    )
    store_url: str = Field("", description="Object store, any fsspec URL; default `file://$HOME/store`")
    database_url: str = Field("", description="Warehouse, SQLAlchemy URL; default `sqlite:///$HOME/warehouse.db`")
    auth_database_url: str = Field(
        "", description="Warehouse as the auth service logs in, a role with fewer rights; default `DATABASE_URL`"
    )
    services_database_url: str = Field(
        "", description="Warehouse as predict and drift log in, a role with fewer rights; default `DATABASE_URL`"
    )
    reader_database_url: str = Field(
        "", description="Warehouse as dashboards log in, a role that only reads; empty: no such role"
    )
    database_admin_url: str = Field(
        "", description="PostgreSQL superuser, for `launch prepare` to make roles and databases; empty: they exist"
    )
    dagster_database_url: str = Field(
        "", description="Dagster's own storage, a PostgreSQL URL; default SQLite in `$HOME/dagster`"
    )
    mlflow_database_url: str = Field(
        "", description="MLflow's own database, for `launch prepare` to make; MLflow itself is told by its own flags"
    )
    mlflow_tracking_uri: str = Field(
        "",
        validation_alias=AliasChoices("mlflow_tracking_uri", "MLFLOW_TRACKING_URI"),
        description="MLflow tracking server (no prefix); default `sqlite:///$HOME/mlflow.db`",
    )


class Sources(BaseModel):
    """Where data comes from."""

    accidents_source: str = Field(
        "sample", description="`sample`, `official`, or a directory/URL with yearly BAAC files"
    )
    accidents_watch_seconds: int = Field(
        60, ge=1, description="How often the sensors of accident data look; a publisher's server is asked once an hour"
    )
    accidents_sample_years: str = Field(
        "2021-2024",
        pattern=r"^20\d\d(-20\d\d)?(,20\d\d(-20\d\d)?)*$",
        description="Years that the source `sample` makes, such as `2021-2024` or `2019,2023`",
    )
    accidents_sample_people: int = Field(10_000, ge=10, le=5_000_000, description="Road users per made-up year, about")
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


class Addresses(BaseModel):
    """Where services listen."""

    host: str = Field("127.0.0.1", description="Address that every service listens on")
    dagster_port: int = Field(
        8080,
        ge=1,
        le=65535,
        validation_alias=AliasChoices(PREFIX + "DAGSTER_PORT", PREFIX + "WEBSERVER_PORT", "dagster_port"),
        description="Port of the Dagster web server",
    )
    auth_port: int = Field(7999, ge=1, le=65535, description="Port of the auth service")
    predict_port: int = Field(8000, ge=1, le=65535, description="Port of the predict service")
    drift_port: int = Field(8001, ge=1, le=65535, description="Port of the drift service")


class StackAddresses(BaseModel):
    """Where the servers of `make stack` listen."""

    postgres_port: int = Field(5432, ge=1, le=65535, description="Port of PostgreSQL in `make stack`")
    s3_port: int = Field(8333, ge=1, le=55535, description="Port of the S3 store in `make stack`, and 10,000 above")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of MLflow in `make stack`")
    prometheus_port: int = Field(9090, ge=1, le=65535, description="Port of Prometheus in `make stack`")
    alertmanager_port: int = Field(9093, ge=1, le=65535, description="Port of Alertmanager in `make stack`")
    scrape_seconds: int = Field(
        0, ge=0, le=3600,
        description="How often Prometheus of `make stack` scrapes and judges its rules; 0: as deploy/prometheus says",
    )  # fmt: skip
    exporter_port: int = Field(9400, ge=1, le=65535, description="Port of the Dagster metrics exporter")


class Workers(BaseModel):
    """Where the partitioned jobs (ingest and scoring of accident years) run."""

    broker_url: str = Field(
        "", description="Redis URL: steps of the partitioned jobs go to workers; empty: the run's own machine does them"
    )
    broker_redelivery_seconds: float = Field(
        900,
        ge=1,
        description="A step that a dead worker held goes to another one after this; longer than any step takes",
    )
    broker_patience_seconds: float = Field(
        120, ge=1, description="A run fails when its queue has had no worker for this long"
    )


class Versioning(BaseModel):
    """Versions of training inputs, by DVC (`make dvc`)."""

    dvc_remote: str = Field(
        "",
        pattern=r"^[^@]*$",
        description="Where inputs of promoted versions are kept, as s3://bucket/prefix, its keys by the "
        "`AWS_*` names; empty: not kept",
    )
    dvc_repository: str = Field(
        "",
        description="Git repository of these inputs; pushed to its `origin` where it has one; default `$HOME/datasets`",
    )
    dvc_program: str = Field("", description="DVC's program; default `$HOME/tools/bin/dvc`, else `dvc` on the PATH")


class Limits(BaseModel):
    """What HTTP services take and give."""

    http_workers: int = Field(1, ge=1, le=64, description="Worker processes of each HTTP service")
    max_body_bytes: int = Field(2 * 1024**2, ge=1024, description="Largest request body, in bytes")
    max_upload_bytes: int = Field(256 * 1024**2, ge=1024, description="Largest CSV upload, in bytes")
    request_seconds: float = Field(30, gt=0, description="Longest a request may take, its body included")
    upload_seconds: float = Field(900, gt=0, description="Longest a CSV upload may take, its answer included")
    body_idle_seconds: float = Field(10, gt=0, description="Longest wait for the next piece of a body")
    drain_seconds: float = Field(
        0.2, ge=0, le=60, description="How long a stopping service says it is not ready before it stops listening"
    )
    max_connections: int = Field(1000, ge=1, description="Connections each worker holds; more are answered with 503")
    metrics_public: bool = Field(False, description="Whether /metrics answers callers that are not on loopback")
    trusted_proxies: str = Field("", description="Addresses of proxies whose X-Forwarded-For is believed, by comma")
    model_poll_seconds: float = Field(
        0.5, ge=0.05, le=1, description="How often the predict service looks for a new champion"
    )
    public_auth_url: str = Field(
        "", description="Where clients reach the auth service; default `http://127.0.0.1:$AUTH_PORT`"
    )
    internal_auth_url: str = Field(
        "", description="Where the other services reach the auth service; default `PUBLIC_AUTH_URL`"
    )


class Accounts(BaseModel):
    """Who may do what."""

    auth_required: bool = Field(True, description="Whether predict and drift endpoints want a token or an API key")
    auth_issuer: str = Field("accident_reco", min_length=1, description="`iss` of the tokens, and what services accept")
    auth_audience: str = Field("accident_reco", min_length=1, description="`aud` of the tokens that services accept")
    access_token_minutes: int = Field(15, ge=1, le=1440, description="Lifetime of an access token")
    refresh_token_days: int = Field(14, ge=1, le=365, description="Lifetime of a refresh token")
    admin_password: str = Field(
        "", description="Password of the first admin; default: random, kept in `$HOME/keys`, printed once"
    )
    docs_origins: str = Field(
        "", description="Origins, by comma, whose pages may log in; default: predict and drift on loopback"
    )
    rate_per_second: float = Field(500, gt=0, description="Requests a second of one account, key or address")
    rate_burst: int = Field(1000, ge=1, description="Requests that may come at once above that rate")


class PredictionLog(BaseModel):
    """What is kept of predictions."""

    log_predictions: bool = Field(True, description="Whether predictions are logged in the warehouse")
    log_queue_rows: int = Field(20_000, ge=100, description="Rows that wait to be logged; more are dropped and counted")
    log_retention_days: int = Field(400, ge=1, description="Age at which logged predictions and labels are deleted")
    feedback_window_days: int = Field(60, ge=1, description="How late a label of a prediction may come")


class ClosedLoop(BaseModel):
    """How drift is watched and what follows from it."""

    drift_window_rows: int = Field(5000, ge=100, description="Most rows of the log that one drift check looks at")
    drift_window_hours: float = Field(168, gt=0, description="Oldest row that a drift check looks at, in hours")
    drift_share: float = Field(0.5, gt=0, le=1, description="Share of drifted features at which a dataset has drifted")
    drift_alpha: float = Field(0.01, gt=0, lt=1, description="False discoveries accepted among drifted features")
    drift_distance: float = Field(
        0.08, gt=0, le=1, description="Least KS distance or total variation of a drifted feature"
    )
    drift_psi: float = Field(0.2, gt=0, description="Or its least population stability index")
    drift_min_rows: int = Field(500, ge=1, description="Fewer rows than this are insufficient data")
    drift_min_groups: int = Field(30, ge=1, description="Fewer accidents or users than this are insufficient data")
    drift_schedule: str = Field("0 * * * *", description="When drift is checked, as cron (UTC)")
    drift_sample_rows: int = Field(
        2000, ge=0, description="Rows a side in the charts of a drift check's drawn report; without charts at 0"
    )
    drift_pages_kept: int = Field(20, ge=1, description="Drawn reports kept per model; older ones keep their figures")
    retrain_mode: Literal["off", "suggest", "auto"] = Field(
        "auto", description="Whether the platform retrains by itself, says that it would, or does neither"
    )
    retrain_needed: int = Field(2, ge=1, description="Drifted windows among the latest ones that start a training")
    retrain_window: int = Field(3, ge=1, description="How many of the latest windows count for that")
    retrain_cooldown_seconds: float = Field(21600, ge=0, description="Least time between two automatic trainings")
    retrain_daily_budget: int = Field(3, ge=0, description="Most automatic trainings of a model in 24 hours")
    retrain_backoff_seconds: float = Field(
        43200, ge=0, description="Wait after a candidate lost; doubles with each further loss, up to 7 days"
    )
    retrain_new_rows: int = Field(5000, ge=1, description="New ratings after which movies are trained again")
    retrain_new_years: int = Field(
        1, ge=1, description="New or corrected years of accidents after which accidents are trained again"
    )
    retrain_performance_drop: float = Field(
        0.03,
        gt=0,
        description="Loss of ROC AUC (accidents) or rise of RMSE (movies) on live labels that asks for training",
    )
    retrain_in_one_process: bool = Field(
        False,
        description="Whether trainings that the loop starts run all steps in one process: quicker where data is small",
    )
    loop_seconds: int = Field(30, ge=1, description="How often the sensors of the closed loop look, in seconds")
    alert_secret: str = Field("", description="Bearer secret of `POST /alerts`; generated in $HOME/keys where empty")
    notify_url: str = Field("", description="Webhook told of failed runs and suggested trainings (JSON); empty: none")


class MovieTraining(BaseModel):
    """How movie models are trained and chosen."""

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


class AccidentTraining(BaseModel):
    """How accident models are trained and promoted."""

    accidents_feature_set: Literal["call", "full"] = Field(
        "call", description="`call`: known when the call comes in; `full` adds obstacle, impact and manoeuvre"
    )
    accidents_synthetic_share: float = Field(
        0.5, ge=0, le=0.9, description="Share of synthetic people in the training set; 0.5 is one for each real one"
    )
    accidents_synthetic_weight: float = Field(
        0.05, ge=0, le=1, description="What a synthetic person counts in training against a real one"
    )
    accidents_mask_most: float = Field(
        0.8, ge=0, le=0.95, description="Rows are learnt again with up to this share of their fields unknown; 0: never"
    )
    accidents_masked_weight: float = Field(
        0.4, gt=0, le=1, description="What a row with fields made unknown counts in training against itself whole"
    )
    accidents_teacher_share: float = Field(
        0.5, ge=0, le=1, description="How much of what is learnt of a person is a teacher's word, not the label"
    )
    accidents_miss_cost: float = Field(
        4.0, gt=0, description="How many false alarms one missed grave injury is worth; sets the decision threshold"
    )
    accidents_coverage: float = Field(
        0.9, gt=0.5, lt=1, description="Share of either class whose true class the flag `uncertain` may not exclude"
    )
    accidents_forest_trees: int = Field(
        0, ge=0, le=2_000, description="Trees of the random forest; 0: by the number of people, up to 80"
    )
    accidents_boosting_rounds: int = Field(
        0, ge=0, le=5_000, description="Rounds of gradient boosting; 0: by the number of people, up to 350"
    )
    accidents_boosting_members: int = Field(
        2, ge=1, le=10, description="Boosters that are averaged; every second one is of extremely random trees"
    )
    accidents_tuning_seconds: float = Field(
        600, gt=0, description="Budget of the job `tune_accidents`: seconds of search, half for either candidate"
    )
    accidents_max_people: int = Field(
        200_000, ge=1_000, description="Real people that training takes at most: whole accidents, chosen by hash"
    )
    accidents_floor: float = Field(0.7, ge=0.5, le=1, description="ROC AUC below which no accident model serves")
    accidents_minimum_gain: float = Field(
        0.0005, ge=0, description="Gain of ROC AUC below which a change of accident model is not worth it"
    )


class Common(BaseModel):
    """What holds for both models and every process."""

    training_jobs: int = Field(2, ge=1, le=64, description="Threads that training may use")
    git_commit: str = Field("", description="Commit recorded in a version's lineage; empty asks git about the checkout")
    seed: int = Field(20, ge=0, description="Seed of everything random in training and sampling")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line written")
