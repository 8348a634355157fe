"""Reads the environment: typed settings, all problems reported at once, embedded defaults derived.

The fields are in `groups`, by area, and in the settings class of each model. Nothing else in the platform reads the
environment, except `plugins`, which selects the models before their settings can be read.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from accident_reco.settings import plugins
from accident_reco.settings.groups import (
    PREFIX,
    AccountSettings,
    AddressSettings,
    ConsoleSettings,
    DatasetSettings,
    DriftSettings,
    GlobalSettings,
    HttpSettings,
    LoopSettings,
    PageSettings,
    PredictionLogSettings,
    RetrainSettings,
    RolloutSettings,
    StackSettings,
    StorageSettings,
    WorkerSettings,
)
from accident_reco.settings.loops import DeclarationError, declarations


class SettingsError(ValueError):
    """One or more settings are wrong; the message names each with its rule."""


S = TypeVar("S", bound="Settings")


class Settings(
    StorageSettings,
    AddressSettings,
    StackSettings,
    WorkerSettings,
    DatasetSettings,
    HttpSettings,
    AccountSettings,
    PageSettings,
    ConsoleSettings,
    PredictionLogSettings,
    DriftSettings,
    RetrainSettings,
    RolloutSettings,
    LoopSettings,
    GlobalSettings,
    BaseSettings,
):
    """The platform's settings; each model has a subclass with its own.

    `Settings.load()` returns one object that is an instance of every selected model's class; `of` returns it as one.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, populate_by_name=True)

    @model_validator(mode="after")
    def _retrain_window_can_be_met(self) -> Settings:
        if self.retrain_needed > self.retrain_window:
            raise ValueError(
                f"{PREFIX}RETRAIN_NEEDED = {self.retrain_needed} must not be larger than "
                f"{PREFIX}RETRAIN_WINDOW = {self.retrain_window}"
            )
        return self

    @model_validator(mode="after")
    def _rollout_is_consistent(self) -> Settings:
        steps = self.rollout_shares
        if list(steps) != sorted(set(steps)) or steps[0] <= 0:
            raise ValueError(f"{PREFIX}ROLLOUT_STEPS = {self.rollout_steps} must be positive and ascend")
        unknown = {entry.partition("=")[0] for entry in self.rollout.split(",") if "=" in entry} - {*self.model_names}
        if unknown:
            raise ValueError(f"{PREFIX}ROLLOUT names models that are not installed: {', '.join(sorted(unknown))}")
        return self

    @model_validator(mode="after")
    def _broker_library_is_installed(self) -> Settings:
        if self.broker_url and find_spec("dagster_celery") is None:
            raise ValueError(f"{PREFIX}BROKER_URL needs dagster-celery: install accident-reco[celery]")
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
        """Settings from the environment, with those of the selected models.

        Args:
            overrides: values by field name, instead of the environment's.

        Raises:
            SettingsError: with every problem in one message, each with the variable's name, value and rule.
        """
        problems: list[str] = []
        combined: type[Settings] = Settings
        try:
            names = plugins.chosen_names(overrides.get("models"))
            combined = combine(names)
            overrides = plugins.base_overrides(names) | overrides
        except DeclarationError as error:  # without it the models are unknown, and so are their settings
            raise SettingsError(f"wrong settings:\n  - {error}") from None
        except plugins.UnknownModelError as error:
            problems.append(str(error))
        try:
            settings = combined(**overrides)
        except ValidationError as error:
            problems += [_explain(dict(item)) for item in error.errors(include_url=False)]
        if problems:
            raise SettingsError("wrong settings:\n" + "\n".join(f"  - {problem}" for problem in problems))
        for name, hint in unknown_settings(os.environ, combined).items():
            sys.stderr.write(f"warning: {name} is not a setting{hint}; it has no effect\n")
        return settings

    @classmethod
    def groups(cls) -> dict[str, dict[str, FieldInfo]]:
        """Fields by area: heading → field name → field, the platform's areas first."""
        found: dict[str, dict[str, FieldInfo]] = {}
        kinds = sorted(cls.__mro__, key=lambda kind: kind not in Settings.__mro__)
        for kind in kinds:
            own = [name for name in vars(kind).get("__annotations__", {}) if name in cls.model_fields]
            if own and kind is not BaseSettings:
                found[str(kind.__doc__).rstrip(".")] = {name: cls.model_fields[name] for name in own}
        return found

    @cached_property
    def model_names(self) -> tuple[str, ...]:
        """Names of this installation's models."""
        return plugins.chosen_names(self.models)

    @cached_property
    def rollout_shares(self) -> tuple[float, ...]:
        """Shares of a canary's steps."""
        return tuple(float(share) for share in self.rollout_steps.split(","))

    def list_owners(self, model: str) -> list[str]:
        """Owners of a model's assets: its own ones, else those of all models, else a team of its name."""
        named: dict[str, list[str]] = {}
        for entry in filter(None, self.owners.split(",")):
            name, _, owner = entry.rpartition("=")
            named.setdefault(name, []).append(owner)
        return named.get(model) or named.get("") or [f"team:{model}"]

    def rollout_mode(self, model: str) -> str:
        """How versions of a model become champion: `direct`, `shadow` or `canary`."""
        named: dict[str, str] = {}
        for entry in self.rollout.split(","):
            name, _, mode = entry.rpartition("=")
            named[name] = mode
        return named.get(model, named.get("", "direct"))

    def of(self, kind: type[S]) -> S:
        """This object as the settings class of a model.

        Raises:
            SettingsError: the model is not part of this installation.
        """
        if not isinstance(self, kind):
            raise SettingsError(f"{kind.__name__} belongs to a model that {plugins.VARIABLE} does not select")
        return self

    # Derived values: the only place of each embedded default.
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
    def has_tracking_server(self) -> bool:
        """Whether trainings log to a server, which has pages of its own, and not to a database."""
        return urlsplit(self.tracking_uri).scheme in ("http", "https")

    @cached_property
    def mlflow_url(self) -> str:
        """Where people open MLflow's pages."""
        if not self.has_tracking_server:
            return f"http://127.0.0.1:{self.mlflow_port}"
        parts = urlsplit(self.tracking_uri)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")

    @cached_property
    def auth_url(self) -> str:
        """Where clients (and the login of `/docs`) reach the auth service."""
        return self.public_auth_url.rstrip("/") or f"http://127.0.0.1:{self.auth_port}"

    @cached_property
    def drift_url(self) -> str:
        """Where browsers reach the drift service."""
        return self.public_drift_url.rstrip("/") or f"http://127.0.0.1:{self.drift_port}"

    @cached_property
    def console_url(self) -> str:
        """Where browsers reach the console."""
        return self.public_console_url.rstrip("/") or f"http://127.0.0.1:{self.console_port}"

    @cached_property
    def keys_url(self) -> str:
        """Where services read the public keys that tokens are verified with."""
        return f"{self.internal_auth_url.rstrip('/') or self.auth_url}/.well-known/jwks.json"

    @cached_property
    def api_urls(self) -> dict[str, str]:
        """Service → base URL at which the console calls it."""
        urls = {
            "auth": self.internal_auth_url or self.auth_url,
            "predict": self.internal_predict_url or f"http://127.0.0.1:{self.predict_port}",
            "drift": self.internal_drift_url or f"http://127.0.0.1:{self.drift_port}",
        }
        return {service: url.rstrip("/") for service, url in urls.items()}

    @cached_property
    def page_urls(self) -> dict[str, str]:
        """Program → base URL of its pages for browsers; empty where there are none."""
        mlflow = self.public_mlflow_url or self.mlflow_url
        dagster = self.public_dagster_url or f"http://127.0.0.1:{self.dagster_port}"
        urls = {"dagster": dagster, "mlflow": mlflow, "grafana": self.public_grafana_url}
        return {program: url.rstrip("/") for program, url in urls.items()}

    @cached_property
    def allowed_docs_origins(self) -> list[str]:
        """Origins whose pages may request tokens from the auth service."""
        if self.docs_origins:
            return [origin.strip().rstrip("/") for origin in self.docs_origins.split(",") if origin.strip()]
        ports = (self.predict_port, self.drift_port)
        return [f"http://{host}:{port}" for host in ("127.0.0.1", "localhost") for port in ports]

    @cached_property
    def trigger_interval(self) -> int:
        """Interval of the sensors that look for triggers, in seconds: an idle platform's ticks cost the most there."""
        return self.trigger_seconds or 4 * self.loop_seconds

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
    """Sets `ACCIDENT_RECO_NAME` to the content of the file that `ACCIDENT_RECO_NAME_FILE` names."""

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


@cache
def combine(names: tuple[str, ...]) -> type[Settings]:
    """The settings class of an installation with these models.

    Raises:
        SettingsError: different settings classes declare the same setting, a model has no settings class, or a model
            that it requires is not selected.
        UnknownModelError: a model is not installed or cannot be imported.
    """
    classes = plugins.settings_classes(names)
    declared: dict[str, str] = {}
    for name, kind in classes.items():
        if not (isinstance(kind, type) and issubclass(kind, Settings)):
            raise SettingsError(
                f"the model {name!r}: its `settings` must be a subclass of accident_reco.settings.Settings"
            )
        for field in kind.model_fields.keys() - Settings.model_fields.keys():
            # Models with the same class, such as two instances of one model, share its fields.
            if field in declared and classes[declared[field]] is not kind:
                raise SettingsError(f"the models {declared[field]} and {name} both declare the setting {field}")
            declared[field] = name
        _check_overrides(name, kind)
        if absent := [needed for needed in plugins.required_names(name) if needed not in names]:
            raise SettingsError(
                f"the model {name!r} requires {', '.join(absent)}, which {plugins.VARIABLE} does not select; "
                f"fix: {plugins.VARIABLE}={','.join((*absent, *names))}"
            )
    return type(
        "Settings", (*dict.fromkeys(classes.values()), Settings), {"__doc__": Settings.__doc__, "__module__": __name__}
    )


def _check_overrides(name: str, kind: type[Settings]) -> None:
    """Check the settings of a declared model.

    Raises:
        SettingsError: one is none of its model's own, or its value is invalid.
    """
    found = declarations().get(name)
    if found is None or not found.overrides:
        return
    problems = [
        f"{field} is no setting of {found.model}"
        for field in found.overrides
        if field not in kind.model_fields or field in Settings.model_fields
    ]
    try:
        kind(**found.overrides)
    except ValidationError as error:
        mine = [item for item in error.errors(include_url=False) if item["loc"] and item["loc"][0] in found.overrides]
        problems += [f"{item['loc'][0]} = {item['input']!r}: {item['msg']}" for item in mine]
    if problems:
        raise SettingsError("\n".join(f"wrong settings in {found.file}: {problem}" for problem in problems))


def unknown_settings(environ: Mapping[str, str], known_settings: type[Settings] = Settings) -> dict[str, str]:
    """Variables with the platform's prefix that no setting reads, each with the most similar setting as a hint."""
    known = {variable(name) for name in known_settings.model_fields} | {PREFIX + "WEBSERVER_PORT"}
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
        word in name
        for word in ("PASSWORD", "SECRET", "TOKEN", "KEY", "DATABASE_", "BROKER_URL", "REDIS_URL", "DVC_REMOTE")
    )
    shown = "" if secret else f" = {error.get('input')!r}"
    return f"{name}{shown}: {error['msg'].removeprefix('Value error, ')}"
