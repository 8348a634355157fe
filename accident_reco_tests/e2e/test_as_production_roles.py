"""Every write of the services on PostgreSQL, as the role that does it in production.

One database, prepared by the launcher; auth, predict and drift log in as the launcher lets them. Covers requests, what
runs on a timer, and the auth service's commands; assets, sensors and their notifications write as the owner.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg2.errors
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from accident_reco.launch.home import service_environment
from accident_reco.launch.platform import SERVICES
from accident_reco.lifecycle.rollout.control import Plan, start
from accident_reco.lifecycle.rollout.decision import RolloutPolicy
from accident_reco.lifecycle.store import ModelStore
from accident_reco.registry import database_access
from accident_reco.settings import variable
from accident_reco.storage import drift_reports, prediction_log, rollout_calls
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.e2e.conftest import Postgres
from accident_reco_tests.support.drift_rows import build_report_row
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.production import PASSWORD, ROAD_USER, Platform, log_row, run_auth, running_platform

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def platform(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(postgres.prepare_platform(tmp_path_factory.mktemp("roles"))) as platform:
        yield platform


TENSORS = {
    "accidents": [{"name": "catu", "datatype": "INT32", "shape": [1], "data": [3]}],
    "movies": [{"name": n, "datatype": "INT64", "shape": [1], "data": [1]} for n in ("user_id", "movie_id")],
}


def log_in(name: str, password: str = PASSWORD) -> Callable[[Platform], httpx.Response]:
    return lambda p: p.clients["auth"].post("/token", data={"username": name, "password": password})


def infer(model: str, by_version: bool) -> Callable[[Platform], httpx.Response]:
    def send(platform: Platform) -> httpx.Response:
        client = platform.clients["predict"]
        version = f"/versions/{client.get(f'/models/{model}').json()['champion']}" if by_version else ""
        return client.post(f"/v2/models/{model}{version}/infer", json={"inputs": TENSORS[model]})

    return send


IMPORTED = "SELECT user_id, movie_id, rating FROM ratings WHERE load_id IS NOT NULL LIMIT 1"


def rate_again(platform: Platform) -> httpx.Response:
    with platform.owner.connect() as connection:
        user, movie, stars = connection.execute(text(IMPORTED)).one()
    rating = {"user_id": user, "movie_id": movie, "rating": 1 if stars > 1 else 5}
    return platform.clients["predict"].post("/feedback/movies", json={"ratings": [rating]})


def call(service: str, method: str, path: str, **body: Any) -> Callable[[Platform], httpx.Response]:
    """A request; `{key}` in its path is the id of the known key."""
    return lambda p: p.clients[service].request(method, path.format(key=p.known["key"]["id"]), **body)


@dataclass(frozen=True)
class Case:
    """A request that writes, and a FROM clause whose rows it changes in number: by `change`; 0: adds one or more."""

    operation: str
    rows: str
    send: Callable[[Platform], httpx.Response]
    change: int = 1
    status: int = 200


def logged(model: str, source: str, status: int = 200) -> str:
    return f"predictions WHERE model = '{model}' AND source = '{source}' AND status = {status} AND user_name = 'admin'"


def decide_on_rollout(action: str) -> Callable[[Platform], httpx.Response]:
    """A decision on a rollout that has just begun."""

    def send(platform: Platform) -> httpx.Response:
        models = ModelStore(open_store(platform.settings.store))
        pointer = models.pointer("accidents")
        assert pointer is not None
        (other, *_) = (version for version in models.versions("accidents") if version != pointer.version)
        plan = Plan("canary", (0.01, 0.1), timedelta(days=1), RolloutPolicy())
        manifest, now = models.manifest("accidents", other), datetime.now(UTC)
        start(models, platform.owner, manifest, pointer, plan, run_id=action, reason="better", now=now)
        url = f"/models/accidents/rollout/{action}"
        return platform.clients["predict"].post(url, json={"reason": "as a test"})

    return send


READS = {"predict POST /inspect/{model}"}
"""Operations that send files and write nothing."""
NEW_USER = {"name": "new", "password": PASSWORD}
MOVED = "promotions p JOIN promotion_intents i ON i.id = p.id WHERE p.action = 'rollback' AND completed_at IS NOT NULL"
FIRST = {"ratings": [{"user_id": 900_001, "movie_id": 1, "rating": 4}]}
# fmt: off
CASES = [
    Case("auth POST /token", "refresh_tokens WHERE user_name = 'ada'", log_in("ada")),
    Case("auth POST /token", "login_failures WHERE key LIKE 'pair:%'", log_in("ada", "wrong"), status=401),
    Case("auth POST /token", "login_failures WHERE key LIKE 'account:%'", log_in("eve"), change=-1),
    Case("auth POST /token", "login_failures WHERE key LIKE 'known:%'", log_in("bob")),
    Case("auth POST /token", "users WHERE updated_at > created_at AND name = 'old'", log_in("old")),
    Case("auth POST /token", "refresh_tokens WHERE used_at IS NOT NULL", lambda p: p.refresh("refresh")),
    Case("auth POST /token", "audit_log WHERE action = 'token.reuse'", lambda p: p.refresh("reuse"), status=400),
    Case("auth POST /token/revoke", "audit_log WHERE action = 'token.revoke'",
         lambda p: p.clients["auth"].post("/token/revoke", data={"token": p.known["tokens"]["revoke"]})),
    Case("auth POST /users", "users", call("auth", "POST", "/users", json=NEW_USER), status=201),
    Case("auth PATCH /users/{name}", "users WHERE role = 'admin'",
         call("auth", "PATCH", "/users/ada", json={"role": "admin", "password": PASSWORD + "!"})),
    Case("auth DELETE /users/{name}", "users", call("auth", "DELETE", "/users/bob"), change=-1, status=204),
    Case("auth POST /api-keys", "api_keys",
         call("auth", "POST", "/api-keys", json={"name": "k", "scopes": ["predict"]}), status=201),
    Case("predict POST /predict/accidents", logged("accidents", "json"),
         call("predict", "POST", "/predict/accidents", json={"records": [ROAD_USER]})),
    Case("predict POST /predict/accidents", logged("accidents", "json", 422),
         call("predict", "POST", "/predict/accidents", json={}), status=422),
    Case("predict POST /predict/accidents/csv", logged("accidents", "csv"),
         call("predict", "POST", "/predict/accidents/csv", content="catu;sexe\n1;1\n3;2\n",
              headers={"Content-Type": "text/csv"}), change=2),
    Case("predict POST /predict/movies", logged("movies", "json"),
         call("predict", "POST", "/predict/movies", json={"user_id": 1})),
    Case("predict POST /predict/movies/batch", logged("movies", "json"),
         call("predict", "POST", "/predict/movies/batch", json={"requests": [{"user_id": 1}, {}]}), change=2),
    *(Case("predict POST /v2/models/{model}/infer", logged(m, "v2"), infer(m, False)) for m in TENSORS),
    *(Case("predict POST /v2/models/{model}/versions/{version}/infer", logged(m, "v2"), infer(m, True))
      for m in TENSORS),
    Case("predict POST /feedback/accidents", "feedback WHERE user_name = 'admin' AND outcome = 1",
         lambda p: p.label(1, severity=2)),
    Case("predict POST /feedback/movies", "ratings", call("predict", "POST", "/feedback/movies", json=FIRST)),
    Case("predict POST /feedback/movies", "ratings WHERE load_id IS NULL", rate_again),
    Case("predict POST /generate-ratings", "ratings WHERE simulated",
         call("predict", "POST", "/generate-ratings", json={"count": 200}), change=0),
    Case("predict POST /training/{model}", "work_requests WHERE requested_by = 'admin'",
         call("predict", "POST", "/training/movies"), status=202),
    Case("drift POST /alerts", "alerts", lambda p: p.alert("another"), status=202),
    Case("drift POST /alerts", "alerts a JOIN retrain_decisions d ON a.request_id = d.trigger_id",
         lambda p: p.alert("held"), change=-1, status=202),
    Case("drift GET /monitoring/drift/{model}", "drift_reports WHERE report_key IS NOT NULL",
         call("drift", "GET", "/monitoring/drift/accidents?compute=true")),
    Case("drift GET /monitoring/drift", "drift_reports", call("drift", "GET", "/monitoring/drift?compute=true"),
         change=0),
    Case("drift POST /monitoring/drift/{model}", "drift_reports WHERE window_name = 'custom'",
         call("drift", "POST", "/monitoring/drift/accidents?threshold=0.9")),
    # Last, as they delete or revoke what the cases above use.
    Case("auth DELETE /users/{name}/data", "feedback WHERE user_name = 'admin' AND outcome = 0",
         call("auth", "DELETE", "/users/admin/data"), change=-1),
    Case("auth DELETE /users/{name}/data", "predictions WHERE user_name LIKE 'key:%'",
         call("auth", "DELETE", "/users/key:{key}/data"), change=-2),
    Case("auth DELETE /api-keys/{key_id}", "api_keys WHERE revoked_at IS NOT NULL",
         call("auth", "DELETE", "/api-keys/{key}"), status=204),
    *(Case(f"predict POST /models/{{model}}/rollout/{action}", f"promotions WHERE action = 'rollout_{action}'",
           decide_on_rollout(action)) for action in ("advance", "abort")),
    Case("predict POST /models/{model}/rollback", MOVED,
         call("predict", "POST", "/models/accidents/rollback", json={"reason": "the new one is bad"})),
]
# fmt: on


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{case.operation}" for n, case in enumerate(CASES)])
def test_a_request_writes(platform: Platform, case: Case) -> None:
    """The response has the expected status, and the rows that it implies are in the database."""
    before = platform.count(case.rows)
    answer = case.send(platform)
    assert answer.status_code == case.status, answer.text
    wait_for(
        lambda: platform.count(case.rows) == before + case.change if case.change else platform.count(case.rows) > before
    )


def test_the_numbers_of_all_models_are_readable(platform: Platform) -> None:
    """`GET /stats` counts tables that the role of the services may read."""
    numbers = platform.clients["predict"].get("/stats").json()["models"]
    assert numbers["movies"]["rows"] > 0
    assert {"predictions", "feedback"} <= numbers["accidents"].keys()


def test_every_operation_that_may_write_has_a_case(platform: Platform) -> None:
    """A new endpoint needs a case here, and with it the rights of its service's role."""
    operations = {
        f"{name} {method.upper()} {path}"
        for name, app in platform.apps.items()
        for path, item in app.openapi()["paths"].items()
        for method in item.keys() & {"post", "put", "patch", "delete"}
    }
    assert operations - READS == {case.operation for case in CASES if " GET " not in case.operation}


def test_rows_spilled_to_disk_are_logged(platform: Platform) -> None:
    """Rows that an earlier process left on disk: the service looks them up before it inserts them."""
    wait_for(lambda: platform.count("predictions WHERE id = 'spilled'") == 1)


def test_retention_deletes_old_predictions_and_labels(platform: Platform) -> None:
    """As the predict service's hourly pass does, on its own connections."""
    old = datetime.now(UTC) - timedelta(days=400)
    prediction_log.insert_predictions(platform.owner, [log_row("old", old)])
    label = {
        "prediction_id": "old",
        "model": "accidents",
        "label": {"severity": 2},
        "outcome": 1.0,
        "user_name": "ada",
        "predicted_at": old,
        "at": old,
    }
    prediction_log.add_feedback(platform.owner, label)
    service = platform.apps["predict"].state.context.warehouse
    compared = {"id": "old", "model": "accidents", "champion": "a", "challenger": "b", "answered_by": "a", "at": old}
    rollout_calls.insert_calls(service, [compared])
    assert prediction_log.delete_older_than(service, timedelta(days=300)) == 3
    assert platform.count("predictions WHERE id = 'old'") + platform.count("feedback WHERE prediction_id = 'old'") == 0


def test_gauges_show_reports(platform: Platform) -> None:
    """The drift service's thread reads what the owner's schedule recorded."""
    drift_reports.save_report(platform.owner, build_report_row(model="movies", rows=7))
    wait_for(lambda: 'drift_window_rows{model="movies"} 7.0' in platform.clients["drift"].get("/metrics").text)


def test_the_console_keeps_sessions(platform: Platform) -> None:
    """Login, page, refresh of an expired token, logout: each writes the row of the session."""
    console = platform.clients["console"]
    login = {"username": "ada", "password": PASSWORD + "!"}
    assert console.post("/login", data=login).status_code == 303
    assert platform.count("console_sessions") == 1
    with platform.owner.begin() as connection:
        past = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(text("UPDATE console_sessions SET token_expires_at = :at, used_at = :at"), {"at": past})
    page = console.get("/")
    assert page.status_code == 200
    assert platform.count("console_sessions WHERE token_expires_at > now() AND used_at > now() - interval '1 min'") == 1
    (token,) = set(re.findall('name="csrf" value="([0-9a-f]{64})"', page.text))
    assert console.post("/logout", data={"csrf": token}).status_code == 303
    assert platform.count("console_sessions") == 0


def test_commands_of_the_auth_service(platform: Platform) -> None:
    """`init` made the admin that all requests here come from, and finds it; a rotation of keys is audited."""
    assert run_auth(platform.settings, "init") == "an admin exists already\n"
    assert platform.count("audit_log WHERE action = 'user.create' AND actor = 'system' AND target = 'admin'") == 1
    run_auth(platform.settings, "rotate-keys")
    assert platform.count("audit_log WHERE action = 'keys.rotate'") == 1


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_only_its_own_database_url(platform: Platform, service: str) -> None:
    """Whatever database URLs the launcher's environment has, the superuser's included."""
    settings = platform.settings
    fields = [name for name in type(settings).model_fields if name.endswith(("database_url", "database_admin_url"))]
    inherited = {variable(name): getattr(settings, name) or f"postgresql://{name}" for name in fields}
    given = inherited | service_environment(settings, service, {})
    own = {"auth": settings.auth_database_url, "console": settings.console_database_url}.get(
        service, settings.services_database_url
    )
    assert {value for value in given.values() if value.startswith("postgresql")} == {own}


RIGHTS = {
    "SELECT": "SELECT count(*) FROM {table}",
    "INSERT": "INSERT INTO {table} DEFAULT VALUES",
    "UPDATE": 'UPDATE {table} SET "{column}" = NULL',
    "DELETE": "DELETE FROM {table}",
}
FIRST_COLUMNS = """
    SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum = 1
    WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
"""


@pytest.mark.parametrize(
    ("kind", "example"),
    [
        ("auth", ("promotions", "SELECT")),
        ("services", ("promotions", "UPDATE")),
        ("console", ("users", "SELECT")),
        ("reader", ("alerts", "INSERT")),
    ],
)
def test_a_role_is_denied_every_right_that_is_not_listed(
    platform: Platform, kind: str, example: tuple[str, str]
) -> None:
    """PostgreSQL denies every right on every table that the list does not name."""
    allowed = database_access(platform.settings)[kind]
    with platform.owner.connect() as connection:
        columns = dict(connection.execute(text(FIRST_COLUMNS)).tuples().all())
    denied = {(table, right) for table in columns for right in RIGHTS if right not in allowed.get(table, "")}
    assert example in denied
    role = Warehouse(getattr(platform.settings, f"{kind}_database_url"))
    for table, right in denied:
        sql = RIGHTS[right].format(table=table, column=columns[table])
        with pytest.raises(ProgrammingError) as error, role.begin() as connection:
            connection.execute(text(sql))
        assert isinstance(error.value.orig, psycopg2.errors.InsufficientPrivilege), sql
    role.close()
