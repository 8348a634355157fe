"""A version as an MLflow model: signature, example, requirements, code; and a home that moves."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml

from accident_reco.defs.mlflow_tracking import log_decision, log_training
from accident_reco.lifecycle.bundle import CARD_FILE, REFERENCE_FILE, Bundle, canonical_json
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.tracking import VERSION_TAG, TrackedRun, gate_record
from accident_reco.lifecycle.tracking_home import ARTIFACTS, follow_home
from accident_reco.mlflow_flavour.saving import save_model
from accident_reco.mlflow_flavour.version import LoadedVersion
from accident_reco.registry import all_models
from accident_reco_tests.support import registered_models, third_model

pytestmark = [
    # dagster-mlflow is a preview; its version is pinned.
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    # MLflow and SQLAlchemy talk to each other in their own deprecated ways.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
NAME = "diabetes"
WEIGHTS = {"age": 0.5, "sex": -20.0, "bmi": 6.0, "bp": 1.0, "s5": 40.0}
BUNDLE = Bundle(
    NAME,
    {
        "model.json": canonical_json([-300.0, WEIGHTS]),
        REFERENCE_FILE: b"{}",
        CARD_FILE: b"# Diabetes\n\nSquares: m\xc2\xb2.\n",
    },
    {"kind": "ridge"},
    {"rmse": 55.0},
    {"data_source": "scikit-learn", "sources": [{"name": "training_rows", "sha256": "ab" * 32}]},
)


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A model of another package than the platform's."""
    with third_model.installed(third_model.install(tmp_path_factory.mktemp("package"))):
        yield


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """The MLflow model of the bundle."""
    return save_model(all_models()[NAME], BUNDLE)


def test_model_states_what_it_needs_and_nothing_of_this_machine(files: dict[str, bytes]) -> None:
    """Columns with their types, pinned packages, its version; no pickle, no path outside of the model."""
    document = yaml.safe_load(files["MLmodel"])
    columns = {
        column["name"]: (column["type"], column["required"]) for column in json.loads(document["signature"]["inputs"])
    }
    assert columns == {name: ("long" if name == "sex" else "double", True) for name in WEIGHTS}
    assert json.loads(document["signature"]["outputs"]) == [{"type": "double", "name": "progression", "required": True}]
    assert document["metadata"] == {"model": NAME, "bundle_version": BUNDLE.version, "data_source": "scikit-learn"}
    requirements = files["requirements.txt"].decode().split()
    assert f"numpy=={version('numpy')}" in requirements
    assert all("==" in line for line in requirements)
    assert [name for name in files if name.endswith((".pkl", ".pickle", ".joblib"))] == []
    for name in ("MLmodel", "conda.yaml", "python_env.yaml"):
        assert b"/tmp/" not in files[name]
        assert b"/site-packages" not in files[name]
        assert str(Path(__file__).parents[2]).encode() not in files[name]


def test_more_rows_than_a_request_may_have_are_answered_in_order(files: dict[str, bytes]) -> None:
    """The limit of a request is not one of a frame; an unknown column, or a refused value, is an error."""
    loaded = LoadedVersion.from_files(all_models()[NAME], BUNDLE.files, BUNDLE.manifest(""))
    rows = loaded.adapter.max_rows + 7
    columns = {name: np.full(rows, 30.0) for name in WEIGHTS} | {"sex": np.ones(rows), "bmi": 20 + np.arange(rows) % 50}
    expected = -300 + sum(weight * columns[name] for name, weight in WEIGHTS.items())
    columns["s5"] = np.full(rows, 10.0)
    expected += WEIGHTS["s5"] * (10 - 30)
    assert loaded.answer(columns)["progression"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="unknown columns height; columns are age, sex, bmi, bp, s5"):
        loaded.answer({**columns, "height": np.ones(rows)})
    with pytest.raises(ValueError, match="less than or equal to 2"):
        loaded.answer({**columns, "sex": np.full(rows, 3.0)})


def test_champion_is_loaded_from_a_home_that_was_moved(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registered with its data, its card and its files; a process without the platform loads it from the new place."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # dagster-mlflow sets it for the process; restored afterwards
    uri, tags = f"sqlite:///{first / 'mlflow.db'}", {VERSION_TAG: BUNDLE.version}
    sources = {source["name"]: source["sha256"] for source in BUNDLE.lineage["sources"]}
    card = {CARD_FILE: BUNDLE.files[CARD_FILE]}
    run = TrackedRun(NAME, "run", {}, {"rmse": 55.0}, tags, card, model_files=files, datasets=sources)
    run_id = log_training(uri, first, run, "train_diabetes", "a-run-of-dagster")
    promoted = gate_record(NAME, BUNDLE.version, Decision(True, "the first model"))
    log_decision(uri, first, promoted, (BUNDLE.version, None), 60)
    client = mlflow.MlflowClient(tracking_uri=uri)
    registered = client.get_model_version_by_alias(NAME, "champion")
    assert registered.description == "# Diabetes\n\nSquares: m².\n"
    (dataset,) = client.get_run(run_id).inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("training_rows", ("ab" * 32)[:36])

    first.rename(second)
    uri = f"sqlite:///{second / 'mlflow.db'}"
    assert follow_home(uri, second / ARTIFACTS) == 1
    assert follow_home(uri, second / ARTIFACTS) == 0
    program = [sys.executable, registered_models.__file__, uri, NAME]
    answer = subprocess.run(program, capture_output=True, text=True, timeout=200, cwd=tmp_path, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    example, answered = json.loads(answer.stdout)[NAME]
    expected = -300 + sum(weight * np.array(example[name]) for name, weight in WEIGHTS.items())
    assert answered["progression"] == pytest.approx(list(expected))


def test_only_embedded_trackers_are_changed(tmp_path: Path) -> None:
    """A server, a file that is missing, and one that is not MLflow's."""
    assert follow_home("http://127.0.0.1:9", tmp_path) == 0
    assert follow_home(f"sqlite:///{tmp_path / 'none.db'}", tmp_path) == 0
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()
    assert follow_home(f"sqlite:///{tmp_path / 'empty.db'}", tmp_path) == 0
