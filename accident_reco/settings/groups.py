"""Settings of the whole platform, by area: each field with type, bounds, description and an embedded default.

Fields only; `environment.py` reads them and derives further values. The tables of the documentation are generated from
these groups, with their docstrings as headings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field

PREFIX = "ACCIDENT_RECO_"


class StorageSettings(BaseModel):
    """Storage."""

    home: Path = Field(Path(".accident_reco"), description="Directory of all data in embedded operation")
    installation_id: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="Owner of the databases and the store, for a platform without a persistent home or one that "
        "continues another; default generated once and stored in `$HOME/installation-id`",
    )
    allow_shared: bool = Field(
        False, description="Whether to start although a database or the store belongs to another installation"
    )
    store_url: str = Field("", description="Object store, any fsspec URL; default `file://$HOME/store`")
    database_url: str = Field("", description="Warehouse, SQLAlchemy URL; default `sqlite:///$HOME/warehouse.db`")
    auth_database_url: str = Field(
        "", description="Warehouse with the restricted role of the auth service; default `DATABASE_URL`"
    )
    services_database_url: str = Field(
        "", description="Warehouse with the restricted role of predict and drift; default `DATABASE_URL`"
    )
    console_database_url: str = Field(
        "", description="Warehouse with the restricted role of the console; default `DATABASE_URL`"
    )
    reader_database_url: str = Field(
        "", description="Warehouse with the read-only role of dashboards; empty: no such role"
    )
    database_admin_url: str = Field(
        "",
        description="PostgreSQL superuser, for `accident-reco prepare` to create roles and databases; "
        "empty: they exist",
    )
    dagster_database_url: str = Field(
        "", description="Dagster's own storage, a PostgreSQL URL; default SQLite in `$HOME/dagster`"
    )
    mlflow_database_url: str = Field(
        "",
        description="MLflow's own database, for `accident-reco prepare` to create; MLflow itself is configured by its "
        "flags",
    )
    mlflow_tracking_uri: str = Field(
        "",
        validation_alias=AliasChoices("mlflow_tracking_uri", "MLFLOW_TRACKING_URI"),
        description="MLflow tracking server (no prefix); default `sqlite:///$HOME/mlflow.db`",
    )
    tracking_seconds: float = Field(
        60,
        ge=5,
        le=3600,
        description="Maximum time to log one run in MLflow, in seconds; then it is spooled",
    )


class AddressSettings(BaseModel):
    """Addresses of the services."""

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
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of MLflow, unless MLFLOW_TRACKING_URI is a server")
    console_port: int = Field(8002, ge=1, le=65535, description="Port of the console")


class StackSettings(BaseModel):
    """Servers of `make stack`."""

    postgres_port: int = Field(5432, ge=1, le=65535, description="Port of PostgreSQL in `make stack`")
    s3_port: int = Field(
        8333, ge=1, le=55535, description="Port of the S3 store in `make stack`; it uses the port 10,000 above, too"
    )
    prometheus_port: int = Field(9090, ge=1, le=65535, description="Port of Prometheus in `make stack`")
    alertmanager_port: int = Field(9093, ge=1, le=65535, description="Port of Alertmanager in `make stack`")
    scrape_seconds: int = Field(
        0,
        ge=0,
        le=3600,
        description="Scrape and rule interval of Prometheus in `make stack`, in seconds; 0: as in deploy/prometheus",
    )
    exporter_port: int = Field(9400, ge=1, le=65535, description="Port of the Dagster metrics exporter")


class WorkerSettings(BaseModel):
    """Workers of the partitioned jobs."""

    broker_url: str = Field(
        "",
        description="Redis URL: workers execute the steps of partitioned jobs; empty: the machine of the run does",
    )
    broker_redelivery_seconds: float = Field(
        900,
        ge=1,
        description="Time after which the step of a dead worker goes to another one, in seconds; longer than any step",
    )
    broker_patience_seconds: float = Field(
        120, ge=1, description="Time without any worker on a run's queue after which the run fails, in seconds"
    )


class DatasetSettings(BaseModel):
    """Versions of training inputs (DVC)."""

    dvc_remote: str = Field(
        "",
        pattern=r"^[^@]*$",
        description="Remote for the inputs of promoted versions, as s3://bucket/prefix, with the credentials of "
        "the `AWS_*` variables; empty: they are not versioned",
    )
    dvc_repository: str = Field(
        "",
        description="Git repository of these inputs; pushed to its `origin` where it has one; default `$HOME/datasets`",
    )
    dvc_program: str = Field("", description="Program of DVC; default `$HOME/tools/bin/dvc`, else `dvc` on the PATH")


class HttpSettings(BaseModel):
    """HTTP limits and timeouts."""

    http_workers: int = Field(1, ge=1, le=64, description="Worker processes of each HTTP service")
    max_body_bytes: int = Field(2 * 1024**2, ge=1024, description="Largest request body, in bytes")
    max_upload_bytes: int = Field(256 * 1024**2, ge=1024, description="Largest uploaded file, in bytes")
    max_upload_rows: int = Field(5_000_000, ge=1, description="Most rows of an uploaded file")
    max_unpacked_bytes: int = Field(
        1024**3, ge=1024, description="Largest uploaded `.gz`, `.zip` or Parquet file when unpacked, in bytes"
    )
    max_joined_bytes: int = Field(
        192 * 1024**2, ge=1024, description="Largest uploaded tables that are joined in memory, together, in bytes"
    )
    request_seconds: float = Field(30, gt=0, description="Timeout of a request, its body included, in seconds")
    upload_seconds: float = Field(900, gt=0, description="Timeout of an upload, its response included, in seconds")
    body_idle_seconds: float = Field(10, gt=0, description="Timeout of the next part of a body, in seconds")
    drain_seconds: float = Field(
        0.2,
        ge=0,
        le=60,
        description="Time that a stopping service reports not ready before it stops listening, in seconds",
    )
    max_connections: int = Field(
        1000,
        ge=1,
        description="Maximum connections of a worker; a new one closes the longest idle one; where none is idle, "
        "its requests are answered with 503",
    )
    max_connections_per_address: int = Field(
        500, ge=1, description="The same for each address, except `TRUSTED_PROXIES`"
    )
    metrics_public: bool = Field(False, description="Whether /metrics is served to clients that are not on loopback")
    trusted_proxies: str = Field("", description="Addresses of proxies whose X-Forwarded-For is trusted, by comma")
    model_poll_seconds: float = Field(
        0.5, ge=0.05, le=1, description="Interval at which the predict service checks for a new champion, in seconds"
    )
    public_auth_url: str = Field(
        "", description="URL of the auth service for clients; default `http://127.0.0.1:$AUTH_PORT`"
    )
    public_drift_url: str = Field(
        "", description="URL of the drift service for browsers, in links; default `http://127.0.0.1:$DRIFT_PORT`"
    )
    internal_auth_url: str = Field(
        "", description="URL of the auth service for other services; default `PUBLIC_AUTH_URL`"
    )


class AccountSettings(BaseModel):
    """Accounts and access."""

    auth_required: bool = Field(True, description="Whether predict and drift endpoints require a token or an API key")
    auth_issuer: str = Field("accident_reco", min_length=1, description="`iss` of the tokens that services accept")
    auth_audience: str = Field("accident_reco", min_length=1, description="`aud` of the tokens that services accept")
    access_token_minutes: int = Field(15, ge=1, le=1440, description="Lifetime of an access token")
    refresh_token_days: int = Field(14, ge=1, le=365, description="Lifetime of a refresh token")
    admin_password: str = Field(
        "", description="Password of the first admin; default: random, stored in `$HOME/keys`, printed once"
    )
    docs_origins: str = Field(
        "", description="Origins, by comma, whose pages may log in; default: predict and drift on loopback"
    )
    rate_per_second: float = Field(
        500, gt=0, description="Requests per second of one account, key or address, to each worker or `RATE_REDIS_URL`"
    )
    rate_burst: int = Field(1000, ge=1, description="Requests of a burst above that rate")
    rate_redis_url: str = Field(
        "",
        pattern=r"^($|rediss?://.+)",
        description="Redis URL: the rate holds for all workers and replicas together; for each worker while Redis is "
        "away. Empty: for each worker",
    )


class PageSettings(BaseModel):
    """Pages of Dagster and MLflow."""

    page_hosts: str = Field(
        "", description="Host names, by comma, under which browsers reach these pages, besides those of loopback"
    )
    page_read_only: bool = Field(False, description="Whether these pages change nothing; trainings still log in MLflow")
    page_login: bool = Field(False, description="Whether these pages require a login as admin")


class ConsoleSettings(BaseModel):
    """Console."""

    console_session_hours: float = Field(
        12, gt=0, le=168, description="Hours without a request after which a person must log in again"
    )
    internal_predict_url: str = Field(
        "", description="URL of the predict service for the console; default `http://127.0.0.1:$PREDICT_PORT`"
    )
    internal_drift_url: str = Field(
        "", description="URL of the drift service for the console; default `http://127.0.0.1:$DRIFT_PORT`"
    )
    public_dagster_url: str = Field(
        "", description="URL of Dagster's pages for browsers; default `http://127.0.0.1:$DAGSTER_PORT`"
    )
    public_console_url: str = Field(
        "", description="URL of the console for browsers, in links; default `http://127.0.0.1:$CONSOLE_PORT`"
    )
    public_mlflow_url: str = Field(
        "",
        description="URL of MLflow's pages for browsers; default `MLFLOW_TRACKING_URI` where it is a URL, else "
        "`http://127.0.0.1:$MLFLOW_PORT`",
    )
    public_grafana_url: str = Field("", description="URL of Grafana for browsers; empty: no links to dashboards")
    prometheus_url: str = Field(
        "", description="URL of Prometheus, which the console reads; empty: it reads the metrics of the services"
    )


class PredictionLogSettings(BaseModel):
    """Prediction log."""

    log_predictions: bool = Field(True, description="Whether predictions are logged in the warehouse")
    log_queue_rows: int = Field(
        20_000, ge=100, description="Rows that wait in memory to be logged, per worker; more wait on disk"
    )
    log_spill_bytes: int = Field(
        256 * 1024**2,
        ge=0,
        description="Most bytes of rows that wait in `$HOME/spool/predictions` while the warehouse is away; "
        "more are dropped and counted",
    )
    log_retention_days: int = Field(
        400, ge=1, description="Age at which logged predictions (on PostgreSQL: whole months) and labels are deleted"
    )
    feedback_window_days: int = Field(60, ge=1, description="Maximum days between a prediction and its label")


class DriftSettings(BaseModel):
    """Drift detection."""

    drift_window_rows: int = Field(5000, ge=100, description="Maximum rows of the prediction log in one drift check")
    drift_window_hours: float = Field(168, gt=0, description="Maximum age of a row in a drift check, in hours")
    drift_share: float = Field(0.5, gt=0, le=1, description="Share of drifted features at which a dataset has drifted")
    drift_importance: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the model's importance in drifted features of a drifted dataset",
    )
    drift_prediction: float = Field(
        0.5,
        gt=0,
        description="Shift of the mean prediction at which a dataset has drifted, in standard deviations at training",
    )
    drift_alpha: float = Field(0.01, gt=0, lt=1, description="False discoveries accepted among drifted features")
    drift_distance: float = Field(
        0.08, gt=0, le=1, description="Minimum KS distance or total variation of a drifted feature"
    )
    drift_psi: float = Field(
        0.2,
        gt=0,
        description="Minimum PSI (population stability index) of a drifted feature; alternative to the distance",
    )
    drift_min_rows: int = Field(500, ge=1, description="Fewer rows than this are insufficient data")
    drift_min_groups: int = Field(
        30, ge=1, description="Fewer groups of dependent rows than this are insufficient data"
    )
    drift_schedule: str = Field("0 * * * *", description="When drift is checked, as cron (UTC)")
    drift_sample_rows: int = Field(
        2000, ge=0, description="Rows per side in the charts of the HTML report; 0: no charts"
    )
    drift_link_hours: float = Field(
        24,
        gt=0,
        le=168,
        description="Lifetime of the signed link to the HTML report in Dagster's metadata, in hours",
    )
    drift_pages_kept: int = Field(20, ge=1, description="HTML reports kept per model; older reports keep their figures")


class RetrainSettings(BaseModel):
    """Automatic retraining."""

    retrain_mode: Literal["off", "suggest", "auto"] = Field(
        "auto", description="`auto` starts trainings, `suggest` only notifies, `off` does neither"
    )
    retrain_needed: int = Field(2, ge=1, description="Drifted windows among the latest ones that trigger a training")
    retrain_window: int = Field(3, ge=1, description="Number of latest windows that count for `RETRAIN_NEEDED`")
    retrain_cooldown_seconds: float = Field(21600, ge=0, description="Minimum time between two automatic trainings")
    retrain_daily_budget: int = Field(3, ge=0, description="Maximum automatic trainings of a model in 24 hours")
    retrain_backoff_seconds: float = Field(
        43200,
        ge=0,
        description="Wait after a candidate was rejected; doubles with each further rejection, up to 7 days",
    )
    retrain_performance_drop: float = Field(
        0.03,
        gt=0,
        description="Deterioration of the deciding metric on live labels that triggers a training; "
        "for a regression a share of its value at training",
    )
    retrain_in_one_process: bool = Field(
        False,
        description="Whether automatic trainings run all steps in one process: faster on small data",
    )


_MODE = "(direct|shadow|canary)"


class RolloutSettings(BaseModel):
    """Rollout of new versions."""

    rollout: str = Field(
        "direct",
        pattern=rf"^([a-z][a-z0-9_]*=)?{_MODE}(,[a-z][a-z0-9_]*={_MODE})*$",
        description="How a version that passed the gate becomes champion: `direct`, `shadow` or `canary`; "
        "for one model as `direct,<model>=canary`",
    )
    rollout_steps: str = Field(
        "0.01,0.1,0.5",
        pattern=r"^0?\.\d+(,0?\.\d+)*$",
        description="Shares of the traffic that a canary answers before it answers all, ascending",
    )
    rollout_step_seconds: float = Field(
        600, ge=1, description="Minimum duration of a canary's step, and of a shadow, in seconds"
    )
    rollout_evaluation_seconds: float = Field(
        300, ge=1, description="Interval at which the evidence on a rollout is evaluated, in seconds"
    )
    rollout_step_calls: int = Field(100, ge=1, description="Compared predictions before the next step")
    rollout_sample: float = Field(
        0.1, gt=0, le=1, description="Share of the predictions that both versions compute, for comparison"
    )
    rollout_days: float = Field(14, gt=0, le=365, description="Budget of time of a rollout, in days")
    rollout_labels: int = Field(50_000, ge=100, description="Budget of labels of a rollout, in groups")
    rollout_margin: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Share of the champion's loss by which the challenger's may be larger",
    )
    rollout_undecided: Literal["hold", "promote"] = Field(
        "hold", description="At the end of the budget without enough evidence: `hold` until a person decides, `promote`"
    )
    rollout_error_rate: float = Field(
        0.01, gt=0, lt=1, description="Share of errors above the champion's that ends a rollout"
    )
    rollout_latency_factor: float = Field(
        2.0, gt=1, description="Ratio of the challenger's p99 to the champion's that ends a rollout"
    )


_OWNER = r"([a-z][a-z0-9_]*=)?(team:[\w.-]+|[^@\s,=]+@[^@\s,=]+\.[^@\s,=]+)"


class LoopSettings(BaseModel):
    """Sensors, alerts, notifications, and who is responsible."""

    owners: str = Field(
        "",
        pattern=rf"^({_OWNER}(,{_OWNER})*)?$",
        description="Owners of the assets in Dagster, who answer for them: e-mail addresses or `team:<name>`; of one "
        "model as `<model>=team:<name>`; default `team:<model>`",
    )
    loop_seconds: int = Field(30, ge=1, description="Interval of the sensors that start requested work, in seconds")
    trigger_seconds: int = Field(
        0,
        ge=0,
        description="Interval of the sensors that look for reports, new data, moves of pointers and failures; "
        "0: four times LOOP_SECONDS",
    )
    alert_secret: str = Field("", description="Bearer secret of `POST /alerts`; generated in $HOME/keys where empty")
    notify_url: str = Field(
        "", description="Webhook that receives failed runs and suggested trainings (JSON); empty: none"
    )


class GlobalSettings(BaseModel):
    """Global settings."""

    models: str = Field("", description="Models of this installation, by comma; empty: all that are installed")
    loops: str = Field(
        "",
        description="Folders with further `defs.yaml` files that declare models (`accident_reco.ModelLoop`), by comma",
    )
    training_jobs: int = Field(2, ge=1, le=64, description="Maximum threads of a training")
    git_commit: str = Field("", description="Commit recorded in a version's lineage; empty: that of the checkout")
    seed: int = Field(20, ge=0, description="Seed of everything random in training and sampling")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Minimum level of log lines")
