"""Reads the environment: the only module that does. Typed; reports every wrong setting at once.

What can be set stands in `setting_groups.py`, by area; here it is read, checked as a whole, and completed.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from accident_reco.settings.groups import (
    PREFIX,
    AccidentTraining,
    Accounts,
    Addresses,
    ClosedLoop,
    Common,
    Limits,
    MovieTraining,
    Places,
    PredictionLog,
    Sources,
    StackAddresses,
    Versioning,
    Workers,
)


class SettingsError(ValueError):
    """One or more settings are wrong; the message names each with its rule."""


class Settings(
    Places,
    Sources,
    Addresses,
    StackAddresses,
    Workers,
    Versioning,
    Limits,
    Accounts,
    PredictionLog,
    ClosedLoop,
    MovieTraining,
    AccidentTraining,
    Common,
    BaseSettings,
):
    """Everything that can be configured. `Settings.load()` is the way in: it turns problems into one message."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, populate_by_name=True)

    @model_validator(mode="after")
    def _retrain_window_can_be_met(self) -> Settings:
        if self.retrain_needed > self.retrain_window:
            raise ValueError(
                f"{PREFIX}RETRAIN_NEEDED = {self.retrain_needed} can never be met: it is larger than "
                f"{PREFIX}RETRAIN_WINDOW = {self.retrain_window}"
            )
        return self

    @model_validator(mode="after")
    def _broker_is_understood(self) -> Settings:
        if self.broker_url and find_spec("dagster_celery") is None:
            raise ValueError(f"{PREFIX}BROKER_URL wants dagster-celery: install accident-reco[celery]")
        return self

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _FromFiles(settings_cls)

    @classmethod
    def load(cls, **overrides: Any) -> Settings:
        """Settings from the environment.

        Raises:
            SettingsError: with every problem in one message, each with the variable's name, value and rule.
        """
        problems: list[str] = []
        try:
            settings = cls(**overrides)
        except ValidationError as error:
            problems += [_explain(dict(item)) for item in error.errors(include_url=False)]
            raise SettingsError("wrong settings:\n" + "\n".join(f"  - {p}" for p in problems)) from None
        for name, hint in unknown_settings(os.environ).items():
            sys.stderr.write(f"warning: {name} is not a setting{hint}; it has no effect\n")
        return settings

    @classmethod
    def groups(cls) -> tuple[type[BaseModel], ...]:
        """What can be set, by area, in the order of the README."""
        return tuple(base for base in cls.__bases__ if base is not BaseSettings)

    # What is derived: one place for each embedded default.
    @cached_property
    def store(self) -> str:
        """URL of the object store."""
        return self.store_url or (self.home / "store").as_uri()

    @cached_property
    def database(self) -> str:
        """SQLAlchemy URL of the warehouse."""
        return self.database_url or f"sqlite:///{self.home / 'warehouse.db'}"

    @cached_property
    def tracking_uri(self) -> str:
        """MLflow tracking URI."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.home / 'mlflow.db'}"

    @cached_property
    def auth_url(self) -> str:
        """Where clients (and the login of `/docs`) reach the auth service."""
        return self.public_auth_url.rstrip("/") or f"http://127.0.0.1:{self.auth_port}"

    @cached_property
    def keys_url(self) -> str:
        """Where services read the public keys that tokens are verified with."""
        return f"{self.internal_auth_url.rstrip('/') or self.auth_url}/.well-known/jwks.json"

    @cached_property
    def allowed_docs_origins(self) -> list[str]:
        """Origins whose pages may ask the auth service for tokens."""
        if self.docs_origins:
            return [origin.strip().rstrip("/") for origin in self.docs_origins.split(",") if origin.strip()]
        ports = (self.predict_port, self.drift_port)
        return [f"http://{host}:{port}" for host in ("127.0.0.1", "localhost") for port in ports]

    @cached_property
    def datasets(self) -> Path:
        """Git repository of the promoted versions' inputs."""
        return Path(self.dvc_repository).expanduser().resolve() if self.dvc_repository else self.home / "datasets"

    @cached_property
    def dagster_home(self) -> Path:
        """Directory of Dagster's own storage."""
        return self.home / "dagster"

    @cached_property
    def logs(self) -> Path:
        """Directory of the processes' log files."""
        return self.home / "logs"

    @cached_property
    def keys(self) -> Path:
        """Directory of generated secrets (files of mode 0600)."""
        return self.home / "keys"


class _FromFiles(PydanticBaseSettingsSource):
    """`ACCIDENT_RECO_NAME_FILE=/run/secrets/x` gives `ACCIDENT_RECO_NAME` the content of that file."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{PREFIX}{field_name.upper()}_FILE")
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except OSError as error:
            raise SettingsError(
                f"wrong settings:\n  - {PREFIX}{field_name.upper()}_FILE: cannot read {path}: {error.strerror}"
            ) from None

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found


def variable(field: str) -> str:
    """Name of the environment variable that sets `field`."""
    return "MLFLOW_TRACKING_URI" if field == "mlflow_tracking_uri" else PREFIX + field.upper()


def unknown_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables with our prefix that no setting reads, each with a hint at the nearest real name."""
    known = {variable(name) for name in Settings.model_fields} | {PREFIX + "WEBSERVER_PORT"}
    known |= {name + "_FILE" for name in known}
    unknown = {}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            unknown[name] = f" (did you mean {near[0]}?)" if near else ""
    return unknown


def _explain(error: dict[str, Any]) -> str:
    location = error["loc"][0] if error["loc"] else ""
    name = str(location) if str(location).isupper() else variable(str(location))
    secret = any(
        word in name for word in ("PASSWORD", "SECRET", "TOKEN", "KEY", "DATABASE_", "BROKER_URL", "DVC_REMOTE")
    )
    shown = "" if secret else f" = {error.get('input')!r}"
    return f"{name}{shown}: {error['msg'].removeprefix('Value error, ')}"
