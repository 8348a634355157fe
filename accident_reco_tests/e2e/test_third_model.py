"""A model is a plug-in: a package beside the platform goes through the whole loop, found by its entry point alone."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from accident_reco.lifecycle.tracking import VERSION_TAG
from accident_reco_tests.support import dagster_api, registered_models, third_model
from accident_reco_tests.support.client import Client, await_value
from accident_reco_tests.support.running import ROOT, SMALL, Running, environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

MODEL = "diabetes"
JOBS = {f"train_{MODEL}", f"report_{MODEL}_drift", f"evaluate_{MODEL}_rollout"}
ASSETS = {
    f"{MODEL}/{name}"
    for name in (
        "training_rows",
        "ridge_model",
        "lasso_model",
        "candidate_model",
        "production_model",
        "rollout",
        "drift_report",
    )
}
PATIENT = {"age": 59.0, "sex": 2, "bmi": 32.1, "bp": 101.0, "s5": 4.8598}
OF_THE_LOOP = {"drift_reports", "performance_reports", "new_data", "failed_runs"}


def patients(count: int, seed: int) -> pd.DataFrame:
    """Patients drawn from the published ones."""
    from sklearn.datasets import load_diabetes

    published = load_diabetes(as_frame=True, scaled=False).frame.rename(columns={"target": "progression"})
    drawn = published.sample(count, replace=True, random_state=seed)[[*PATIENT, "progression"]]
    return drawn.astype({"sex": int})


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed package."""
    return third_model.install(tmp_path_factory.mktemp("third"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Further patients with mirrored progression: the first champion is trained on wrong labels, and is poor."""
    file = tmp_path_factory.mktemp("source") / "patients.csv"
    rows = patients(180, seed=1)
    rows.assign(progression=346 - rows["progression"]).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def running(package: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`make up` with this model alone, its sensors quick."""
    env = environment(
        tmp_path_factory.mktemp("up") / "home",
        PYTHONPATH=third_model.python_path(package),
        ACCIDENT_RECO_MODELS=MODEL,
        ACCIDENT_RECO_DIABETES_SOURCE=str(source),
        ACCIDENT_RECO_LOOP_SECONDS="1",
        ACCIDENT_RECO_TRIGGER_SECONDS="1",
        ACCIDENT_RECO_RETRAIN_COOLDOWN_SECONDS="0",
        ACCIDENT_RECO_RETRAIN_IN_ONE_PROCESS="true",
        ACCIDENT_RECO_DRIFT_SAMPLE_ROWS="100",
    )
    platform = Running({name: value for name, value in env.items() if name not in SMALL})
    try:
        platform.await_text(r"ready after \d+ s", 600)
        yield platform
    finally:
        platform.stop()


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[Client]:
    """A logged-in client."""
    made = Client(running)
    yield made
    made.close()


def test_it_needs_two_hundred_lines() -> None:
    """The whole package, which the documentation shows as the way to add a model."""
    files = sorted((third_model.SOURCE / "diabetes_model").glob("*.py"))
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) <= 200


def test_the_first_start_trains_gates_and_reports(running: Running) -> None:
    """One screen, without warning: the job of the model, its champion with its metrics, lower RMSE being better."""
    assert "▶ train_diabetes: no version was promoted yet" in running.screen
    assert "▶ report_diabetes_drift: no drift report yet" in running.screen
    assert running.await_text(r"diabetes +[0-9a-f]{16} +from scikit-learn data +rmse \d+\.\d{3}  mae \d+\.\d{3}", 1)
    for absent in ("✘", "warning:", "accidents", "movies"):
        assert absent not in running.screen


def test_dagster_shows_it_and_nothing_else(running: Running) -> None:
    """Assets (all materialized), jobs, schedule and running sensors."""
    shown = dagster_api.repository(running.url("dagster"))
    assert set(shown["assets"]) == ASSETS
    assert all(asset["description"] for asset in shown["assets"].values())
    # Rollouts are off by default.
    assert {name for name, asset in shown["assets"].items() if not asset["assetMaterializations"]} == {
        f"{MODEL}/rollout"
    }
    assert {job for job in shown["jobs"] if MODEL in job} == JOBS
    assert not [job for job in shown["jobs"] if "accidents" in job or "movies" in job]
    assert shown["schedules"] == {"diabetes_drift_schedule"}
    assert OF_THE_LOOP | {"diabetes_training_requests"} <= set(shown["sensors"])
    assert set(shown["sensors"].values()) == {"RUNNING"}


def test_mlflow_has_its_run(running: Running) -> None:
    """Experiment, deciding metric, tags, model card, and the alias of the version that serves."""
    from mlflow import MlflowClient

    home = Path(running.env["ACCIDENT_RECO_HOME"])
    mlflow = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    (run,) = mlflow.search_runs([mlflow.get_experiment_by_name(MODEL).experiment_id])
    assert 40 < run.data.metrics["rmse"] < 77
    assert run.data.tags["data_source"] == "scikit-learn"
    champion = json.loads((home / f"store/models/{MODEL}/production.json").read_text(encoding="utf-8"))["version"]
    assert mlflow.get_model_version_by_alias(MODEL, "champion").tags[VERSION_TAG] == champion
    files = {Path(file.path).name for file in mlflow.list_artifacts(run.info.run_id, "bundle")}
    assert files == {"card.md", "signature.json", "gate.json"}


def test_the_champion_is_made_again_from_its_inputs(running: Running, tmp_path: Path) -> None:
    """What the platform keeps of a model's inputs by itself gives the same version in an empty home."""
    save = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from accident_reco.lifecycle.bundle import Bundle
        from accident_reco.lifecycle.platform import OpenedPlatform
        from accident_reco.registry import get_model
        from accident_reco.settings import Settings
        from accident_reco.storage.warehouse import Warehouse

        settings = Settings.load()
        platform = OpenedPlatform(settings, Warehouse(settings.database))
        _, kept = platform.models.champion("{MODEL}")
        bundle = Bundle(kept.model, platform.models.files(kept), kept.signature, kept.metrics, kept.lineage)
        get_model(settings, "{MODEL}").training().save_inputs(bundle, platform, Path(sys.argv[1]))
        print(kept.version)
    """)
    version = _python(running, "-c", save, str(tmp_path))
    again = _python(running, "-m", "accident_reco.defs.reproduce", MODEL, "--from", str(tmp_path))
    assert again.splitlines()[-1] == version


def test_the_console_has_a_page_for_it(running: Running) -> None:
    """A form by the schema of its request, the answer with the fields' descriptions, wrong values at their fields."""
    password = running.await_text(r"admin password: (\S+)", 600)[1]
    with httpx.Client(base_url=running.url("console"), timeout=30, follow_redirects=True) as person:
        start = person.post("/login", data={"username": "admin", "password": password})
        assert f'href="/m/{MODEL}"' in start.text
        assert "/m/accidents" not in start.text
        form = person.get(f"/m/{MODEL}").text
        assert "Body mass index, kg/m²; 5 to 100" in form
        csrf = {"csrf": form.partition('name="csrf" value="')[2][:64]}
        answer = person.post(f"/m/{MODEL}", data={**PATIENT, **csrf})
        assert answer.status_code == 200
        assert "Expected progression one year ahead" in answer.text
        wrong = person.post(f"/m/{MODEL}", data={**PATIENT, "bmi": 4, "age": "", **csrf})
        assert (wrong.status_code, wrong.text.count('class="error"')) == (422, 1)
        wrong = person.post(f"/m/{MODEL}", data={**PATIENT, "bmi": 4, **csrf})
        assert wrong.status_code == 422
        assert "greater than or equal to 5" in wrong.text.partition('id="e-bmi"')[2]


def test_services_show_it_and_nothing_else(client: Client) -> None:
    """`/models`, the documentation of the endpoints, metrics."""
    (served,) = client.get("predict", "/models")
    assert (served["model"], served["data_source"], served["problem"]) == (MODEL, "scikit-learn", None)
    assert served["reason"].startswith("first version: rmse ")
    assert served["reason"].endswith("passes the limit 77.0000")
    document = client.get("predict", "/openapi.json")
    own = {path for path in document["paths"] if path.startswith(("/predict", "/feedback"))}
    assert own == {"/predict/diabetes", "/feedback/diabetes"}
    fields = document["components"]["schemas"]["Patient"]["properties"]
    assert fields["bmi"]["description"] == "Body mass index, kg/m²"
    assert "prediction_id" in document["components"]["schemas"]["PatientPrediction"]["properties"]
    for service in ("predict", "drift"):
        lines = client.text(service, "/metrics").splitlines()
        named = {line.split('model="')[1].split('"')[0] for line in lines if 'model="' in line}
        assert named == {MODEL}, service


def test_json_and_open_inference_answer_alike(client: Client) -> None:
    """The same number for the same patient; invalid requests are refused by the same rule, never with a 500."""
    answer = client.post("predict", f"/predict/{MODEL}", {"records": [PATIENT, {**PATIENT, "bmi": 20.0}]})
    assert (answer["model"], answer["data_source"]) == (MODEL, "scikit-learn")
    expected = [row["progression"] for row in answer["predictions"]]
    assert expected[0] != expected[1]
    metadata = client.get("predict", f"/v2/models/{MODEL}")
    assert {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]} == {
        name: "INT64" if name == "sex" else "FP64" for name in PATIENT
    }
    assert [tensor["name"] for tensor in metadata["outputs"]] == ["progression", "prediction_id"]
    tensors = [
        {"name": name, "shape": [2], "datatype": "INT64" if name == "sex" else "FP64", "data": [value, value]}
        for name, value in PATIENT.items()
    ]
    tensors[2]["data"] = [PATIENT["bmi"], 20.0]
    inferred = client.post("predict", f"/v2/models/{MODEL}/infer", {"inputs": tensors})
    assert inferred["outputs"][0]["data"] == expected
    tensors[1]["data"] = [2, 3]
    refused = client.call("POST", "predict", f"/v2/models/{MODEL}/infer", {"inputs": tensors})
    assert refused.status_code == 422
    assert refused.json()["error"] == "Record 1/sex: Input should be less than or equal to 2."
    for wrong in (
        [],
        [PATIENT] * 1001,
        [{**PATIENT, "sex": 3}],
        [{**PATIENT, "sex": 2**63}],
        [{**PATIENT, "age": "59"}],
        [{**PATIENT, "age": None}],
        [{**PATIENT, "weight": 70}],
    ):
        answer = client.call("POST", "predict", f"/predict/{MODEL}", {"records": wrong})
        assert answer.status_code == 422, wrong


def test_predictions_are_logged_labelled_and_reported(client: Client, running: Running) -> None:
    """Traffic like the training data with its labels: no drift, live RMSE with bounds; traffic that moved: drift."""
    rows = patients(600, seed=3).to_dict("records")
    bodies = [{name: row[name] for name in PATIENT} for row in rows]
    answers = client.post("predict", f"/predict/{MODEL}", {"records": bodies})["predictions"]
    path = f"/feedback/{MODEL}"
    last = {"prediction_id": answers[-1]["prediction_id"], "progression": rows[-1]["progression"]}
    await_value(lambda: client.call("POST", "predict", path, last).is_success or None, 30, "the prediction is logged")
    for row, answer in zip(rows[:250], answers[:250], strict=True):
        body = {"prediction_id": answer["prediction_id"], "progression": row["progression"]}
        assert client.post("predict", path, body)["status"] == "accepted"
    assert client.post("predict", path, last)["status"] == "known"
    contradicting = client.call("POST", "predict", path, {**last, "progression": 1.5})
    assert (contradicting.status_code, contradicting.json()["kept"]) == (409, last["progression"])
    report = client.get("drift", f"/monitoring/drift/{MODEL}?compute=true")
    assert report["status"] in ("stable", "warning"), report["reason"]
    live = report["performance"]
    assert live["labels"] == 251
    assert live["metrics"]["rmse"]["low"] < live["metrics"]["rmse"]["value"] < live["metrics"]["rmse"]["high"]
    assert not live["dropped"]
    assert math.isfinite(live["metrics"]["mae"]["at_training"])
    moved = [{**body, "bmi": body["bmi"] + 15, "bp": body["bp"] + 40, "s5": body["s5"] + 2} for body in bodies]
    for _ in range(9):  # the window holds 5,000 rows
        client.post("predict", f"/predict/{MODEL}", {"records": moved})

    def red() -> dict[str, Any] | None:
        found = client.get("drift", f"/monitoring/drift/{MODEL}?compute=true")
        return found if found["status"] == "drift" else None

    found = await_value(red, 60, "the moved traffic is a drift")
    assert {"bmi", "bp", "s5"} <= {feature["name"] for feature in found["features"] if feature["drifted"]}
    assert found["prediction"]["drifted"]
    page = client.text("drift", f"/monitoring/drift/{MODEL}/report")
    assert '<section class="verdict red"><h1>Drift</h1>' in page
    drift = await_value(lambda: _gauge(client, "drift_alarm"), 30, "the gauge shows it")
    assert drift == 1.0


def test_new_rows_lead_to_a_promotion_that_a_person_takes_back(client: Client, source: Path) -> None:
    """The policy starts a training by itself; its version is better on the same held-out rows; then a rollback."""
    first = client.get("predict", f"/models/{MODEL}")["champion"]
    with source.open("a", encoding="utf-8") as file:
        patients(2_000, seed=2).to_csv(file, index=False, header=False)

    def successor() -> dict[str, Any] | None:
        (served,) = client.get("predict", "/models")
        return served if served["champion"] != first else None

    second = await_value(successor, 180, "a new version serves")
    assert " vs " in second["reason"]
    assert "gain +" in second["reason"]
    assert client.post("predict", f"/predict/{MODEL}", {"records": [PATIENT]})["version"] == second["champion"]
    decisions = client.get("drift", f"/monitoring/drift/{MODEL}/history")["decisions"]
    assert (decisions[0]["source"], decisions[0]["action"]) == ("data", "train")
    assert "2000 rows that the champion was not trained on" in decisions[0]["reason"]
    done = client.post("predict", f"/models/{MODEL}/rollback", {"version": first, "reason": "a test of the way back"})
    assert done["status"] == "done"

    def old() -> str | None:
        answer = client.post("predict", f"/predict/{MODEL}", {"records": [PATIENT]})
        return answer["version"] if answer["version"] == first else None

    assert await_value(old, 10, "the first version serves again") == first
    versions = client.get("predict", f"/models/{MODEL}")["versions"]
    assert {version["version"]: version["champion"] for version in versions} == {
        first: True,
        second["champion"]: False,
    }


def test_a_predict_process_loads_no_training_library(running: Running) -> None:
    """Only the serving half is imported where predictions are served."""
    code = (
        "import sys; from accident_reco.settings import Settings; from serving.predict.app import create_app; "
        "create_app(Settings.load()); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'dagster', 'sklearn', 'mlflow', 'pandas'}))"
    )
    assert _python(running, "-c", code) == "[]"


def test_all_three_models_run_together(package: Path, tmp_path: Path) -> None:
    """Without a choice every installed model is part of the platform."""
    one_year = {"ACCIDENT_RECO_ACCIDENTS_SAMPLE_YEARS": "2023"}
    running = Running(environment(tmp_path / "home", PYTHONPATH=third_model.python_path(package), **one_year))
    try:
        client = Client(running)
        names = {"accidents", "movies", MODEL}
        assert {served["model"] for served in client.get("predict", "/models") if served["champion"]} == names
        assert set(client.get("predict", "/readyz")["models"]) == names
        paths = set(client.get("predict", "/openapi.json")["paths"])
        assert {f"/predict/{name}" for name in names} | {f"/feedback/{name}" for name in names} <= paths
        answer = client.post("predict", f"/predict/{MODEL}", {"records": [PATIENT]})
        assert answer["model"] == MODEL
        for name in names:
            assert client.get("predict", f"/v2/models/{name}/ready")["ready"]
            assert client.get("drift", f"/monitoring/drift/{name}")["model"] == name
        assert_registry_answers_as_the_api(client, tmp_path / "home", sorted(names))
        shown = dagster_api.repository(running.url("dagster"))
        assert {key.partition("/")[0] for key in shown["assets"]} == names
        assert {f"train_{name}" for name in names} <= shown["jobs"]
        assert {f"{name}_training_requests" for name in names} <= set(shown["sensors"])
        client.close()
    finally:
        running.stop()


def _python(running: Running, *arguments: str) -> str:
    """Output of a Python program in the platform's environment."""
    command = [sys.executable, *arguments]
    run = subprocess.run(command, cwd=ROOT, env=running.env, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.strip()


def _gauge(client: Client, name: str) -> float | None:
    """Value of a gauge of the model, or None before there is one."""
    try:
        lines = client.text("drift", "/metrics").splitlines()
    except httpx.TransportError:
        return None
    values = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(f'{name}{{model="{MODEL}"}}')]
    return values[0] if values and values[0] == 1.0 else None


def assert_registry_answers_as_the_api(client: Client, home: Path, names: list[str]) -> None:
    """A process without the platform loads `models:/NAME@champion` and answers the same numbers as the service."""
    program = [sys.executable, registered_models.__file__, f"sqlite:///{home / 'mlflow.db'}", *names]
    run = subprocess.run(program, capture_output=True, text=True, timeout=300, cwd=home, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    for name, (example, answer) in json.loads(run.stdout).items():
        datatypes = {
            tensor["name"]: tensor["datatype"] for tensor in client.get("predict", f"/v2/models/{name}")["inputs"]
        }
        tensors = [
            {"name": column, "shape": [len(values)], "datatype": datatypes[column], "data": values}
            for column, values in example.items()
        ]
        outputs = client.post("predict", f"/v2/models/{name}/infer", {"inputs": tensors})["outputs"]
        expected = {tensor["name"]: tensor["data"] for tensor in outputs if tensor["name"] != "prediction_id"}
        assert answer == expected, name
