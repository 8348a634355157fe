"""An installation has the models that it chooses, and nothing of the others is in reach: in no app, graph or right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accident_reco.definitions import build_defs
from accident_reco.defs.resources import Platform
from accident_reco.registry import all_models, database_access, models, warehouse_tables
from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support import third_model
from accident_reco_tests.support.live import live
from serving.drift.app import create_app as drift_app
from serving.predict.app import create_app as predict_app

NAMES = ("accidents", "movies", "diabetes")
LOOSE = {"accidents": {"grave", "victim"}, "movies": {"rating", "recommend"}, "diabetes": {"progression"}}
"""Words besides its name that only one model uses."""


@pytest.fixture(scope="module", autouse=True)
def three_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The third model is installed beside the two."""
    with third_model.installed(third_model.install(tmp_path_factory.mktemp("third"))):
        yield


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The only model of the installation, as the environment chooses it."""
    monkeypatch.setenv("ACCIDENT_RECO_MODELS", request.param)
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(tmp_path))
    monkeypatch.setenv("ACCIDENT_RECO_AUTH_REQUIRED", "false")
    return str(request.param)


def foreign(name: str) -> re.Pattern[str]:
    """Matches the names of the other models."""
    return re.compile("|".join(other for other in NAMES if other != name))


def apps(settings: Settings) -> dict[str, Any]:
    return {"predict": predict_app(settings), "drift": drift_app(settings)}


def test_apps_have_the_endpoints_of_the_chosen_model_alone(name: str) -> None:
    """Paths, shapes and texts of the documentation; the model's own endpoints are there."""
    for service, app in apps(Settings.load()).items():
        document = app.openapi()
        for path in document["paths"]:
            assert not foreign(name).search(path), (service, path)
        words = {word for other, own in LOOSE.items() if other != name for word in own}
        schemas = " ".join(document.get("components", {}).get("schemas", {})).lower()
        assert not [word for word in words if word in schemas], service
    paths = set(predict_app(Settings.load()).openapi()["paths"])
    assert {f"/predict/{name}", f"/feedback/{name}"} <= paths


def test_metrics_are_those_of_the_chosen_model(name: str) -> None:
    """No metric of another model is declared."""
    settings = Settings.load()
    declared = predict_app(settings).state.metrics.exposition().decode()
    assert ("ratings_received" in declared) is (name == "movies")
    assert not foreign(name).search(declared)
    assert not foreign(name).search(drift_app(settings).state.metrics.exposition().decode())


def test_other_models_are_unknown_to_every_endpoint(name: str) -> None:
    """404 with the known names, before and behind each shared path; never a 500."""
    settings = Settings.load()
    warehouse = Warehouse(settings.database)
    warehouse.upgrade(warehouse_tables(settings))
    for app, calls in (
        (
            predict_app(settings),
            (
                ("POST", "/predict/{}"),
                ("POST", "/feedback/{}"),
                ("GET", "/models/{}"),
                ("POST", "/training/{}"),
                ("GET", "/v2/models/{}"),
                ("POST", "/v2/models/{}/infer"),
                ("POST", "/models/{}/rollback"),
            ),
        ),
        (
            drift_app(settings),
            (
                ("GET", "/monitoring/drift/{}"),
                ("GET", "/monitoring/drift/{}?compute=true"),
                ("GET", "/monitoring/drift/{}/report"),
                ("GET", "/monitoring/drift/{}/history"),
            ),
        ),
    ):
        with live(app, ready=False) as client:
            for other in (*(other for other in NAMES if other != name), "unknown"):
                for method, path in calls:
                    body = {"reason": "test of names"} if method == "POST" else None
                    answer = client.request(method, path.format(other), json=body)
                    assert answer.status_code == 404, (method, path, other, answer.text)
                    if "no such model" in answer.text:
                        assert answer.json()["detail"] == f"There is no such model; models are {name}."
    warehouse.close()


def test_settings_are_those_of_the_chosen_model(name: str) -> None:
    """Groups and fields; settings of another model are not in reach by its class either."""
    settings = Settings.load()
    own = set(all_models()[name].settings.model_fields)
    assert set(type(settings).model_fields) == own
    for heading, fields in type(settings).groups().items():
        assert not foreign(name).search(" ".join(fields)), heading
    for other, model in all_models().items():
        if other != name:
            with pytest.raises(ValueError, match="belongs to a model that ACCIDENT_RECO_MODELS does not select"):
                settings.of(model.settings)


def test_a_setting_of_another_model_is_reported_as_unknown(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning per variable, so that a forgotten choice is noticed."""
    for other in NAMES:
        monkeypatch.setenv(f"ACCIDENT_RECO_{other.upper()}_SOURCE", "sample" if other != "diabetes" else "")
    Settings.load(models=name)
    warned = capsys.readouterr().err
    for other in NAMES:
        line = f"warning: ACCIDENT_RECO_{other.upper()}_SOURCE is not a setting"
        assert (line in warned) is (other != name)


def test_dagster_has_the_graph_of_the_chosen_model(name: str, tmp_path: Path) -> None:
    """Assets, checks, jobs, sensors, schedules."""
    platform = Platform(home=str(tmp_path))
    definitions = build_defs(models(platform.settings).values(), platform)
    graph = definitions.resolve_asset_graph()
    keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert {key.partition("/")[0] for key in keys} == {name}
    assert {f"{name}/candidate_model", f"{name}/production_model", f"{name}/drift_report"} <= keys
    assert {key.asset_key.path[0] for key in graph.asset_check_keys} == {name}
    named = [
        *(job.name for job in definitions.resolve_all_job_defs()),
        *(automation.name for automation in (*(definitions.sensors or ()), *(definitions.schedules or ()))),
    ]
    assert not [text for text in named if foreign(name).search(text)]
    own = {f"train_{name}", f"report_{name}_drift", f"{name}_training_requests", f"{name}_drift_schedule"}
    assert own <= set(named)


def test_database_roles_reach_no_table_of_another_model(name: str) -> None:
    """Rights are those of the platform and of the chosen model; tables are its own."""
    settings = Settings.load()
    rights = {table for role in database_access(settings).values() for table in role}
    own = {table for role in all_models()[name].access.values() for table in role}
    others = {
        table
        for other, model in all_models().items()
        for tables in ({table for role in model.access.values() for table in role}, {t.name for t in model.tables()})
        for table in tables
        if other != name
    }
    assert own <= rights
    assert not rights & others
    assert not {table.name for table in warehouse_tables(settings)} & others
