"""A second instance of the accident model with its own name and feature set, beside the first on the same data."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pandas as pd
import pytest

from accident_reco.definitions import build_defs
from accident_reco.defs.reproduce import NO_TRACKER
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import REFERENCE_FILE, canonical_json
from accident_reco.lifecycle.reference import read_reference
from accident_reco.lifecycle.training_identity import describe_repetition
from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.training.parameters import get_tuned_key
from accident_reco.registry import get_model, models, warehouse_tables
from accident_reco.settings import Settings, SettingsError, variable
from accident_reco.storage import prediction_log
from accident_reco_tests.support import third_model
from accident_reco_tests.support.live import live, wait_for
from serving.drift.app import create_app as create_drift_app
from serving.predict.app import create_app

BASE, SECOND = "accidents", "accidents_full"
PACKAGE = "accidents_full_example"
CODE = f"""from accident_reco.models.accidents.model import AccidentModel

MODEL = AccidentModel("{SECOND}", feature_set="full")
"""
OWN = {
    "features",
    "tuned_parameters",
    "forest_model",
    "boosting_model",
    "candidate_model",
    "production_model",
    "rollout",
    "drift_report",
    "scored_victims",
}
"""Assets of each instance; all others are those of the base instance."""
SETTINGS = {
    "models": f"{BASE},{SECOND}",
    "auth_required": "false",
    "metrics_public": "true",
    "mlflow_tracking_uri": NO_TRACKER,
    "training_jobs": "1",
    "accidents_sample_years": "2022-2023",
    "accidents_sample_people": "800",
    "accidents_forest_trees": "4",
    "accidents_boosting_rounds": "10",
    "accidents_boosting_members": "1",
    "accidents_floor": "0.5",
}
ROAD_USER = {"catu": 1, "catv": 33, "catr": 3, "agg": 1, "an_nais": 2001, "an": 2023, "obs": 2, "choc": 1, "manv": 1}


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A package that declares the second instance, as installed; a home with both; returns the home."""
    installed, home = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("home")
    (installed / f"{PACKAGE}.py").write_text(CODE)
    metadata = installed / f"{PACKAGE}-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[accident_reco.models]\n{SECOND} = {PACKAGE}:MODEL\n")
    with pytest.MonkeyPatch.context() as patch, third_model.installed(installed):
        for name, value in {**SETTINGS, "home": str(home)}.items():
            patch.setenv(variable(name), value)
        yield home
        sys.modules.pop(PACKAGE, None)


@pytest.fixture(scope="module")
def platform(environment: Path) -> Platform:
    platform = Platform(home=str(environment))
    platform.warehouse.upgrade(warehouse_tables(platform.settings))
    return platform


@pytest.fixture(scope="module")
def definitions(platform: Platform) -> dg.Definitions:
    return build_defs(models(platform.settings).values(), platform)


@pytest.fixture(scope="module")
def trained(platform: Platform, definitions: dg.Definitions) -> Platform:
    """The platform after an ingestion and a training of each instance by the platform's own jobs."""
    with dg.DagsterInstance.ephemeral() as instance:
        get_model(platform.settings, BASE).training().register_partitions(instance, platform)
        for job, partition in (("ingest_accidents", "2023"), (f"train_{BASE}", None), (f"train_{SECOND}", None)):
            result = definitions.resolve_job_def(job).execute_in_process(instance=instance, partition_key=partition)
            assert result.success
    return platform


@pytest.fixture(scope="module")
def client(trained: Platform) -> Iterator[httpx.Client]:
    with live(create_app(trained.settings)) as client:
        yield client


def versions(platform: Platform) -> dict[str, str]:
    """Model → version of its champion."""
    return {name: platform.models.champion(name)[1].version for name in (BASE, SECOND)}  # type: ignore[index]


def test_graph_has_the_data_once_and_both_trainings(definitions: dg.Definitions) -> None:
    """The second instance has its own assets under its own prefix, and reads the data of the first."""
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    keys = {tuple(key.path) for key in graph.materializable_asset_keys}
    assert {asset for prefix, asset in keys if prefix == SECOND} == OWN
    assert {asset for prefix, asset in keys if prefix == BASE} > OWN
    assert {prefix for prefix, _ in keys} == {BASE, SECOND}
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {"/".join(key) for key in keys}
    parents = graph.get(dg.AssetKey([SECOND, "features"])).parent_keys
    assert parents == {dg.AssetKey([BASE, "training_set"])}
    evaluated_on = graph.get(dg.AssetKey([SECOND, "candidate_model"])).parent_keys
    assert {dg.AssetKey([BASE, "victims"]), dg.AssetKey([SECOND, "forest_model"])} <= evaluated_on
    upstream = graph.get_ancestor_asset_keys(dg.AssetKey([SECOND, "production_model"]))
    assert upstream <= {check.asset_key for check in graph.asset_check_keys if graph.get(check).blocking}
    jobs = {job.name for job in definitions.resolve_all_job_defs()}
    assert {f"train_{SECOND}", f"tune_{SECOND}", f"score_{SECOND}", f"report_{SECOND}_drift"} <= jobs
    assert not {f"ingest_{SECOND}", f"load_{SECOND}"} & jobs
    automations = {automation.name for automation in (*(definitions.sensors or ()), *(definitions.schedules or ()))}
    assert {f"{SECOND}_training_requests", f"{SECOND}_drift_schedule"} <= automations


def test_training_of_the_second_instance_renews_the_shared_rows(definitions: dg.Definitions) -> None:
    """Its job materializes the training rows first, so that it never trains on those of older data."""
    selected = definitions.resolve_job_def(f"train_{SECOND}").asset_layer.selected_asset_keys
    shared = {key.path[-1] for key in selected if key.path[0] == BASE}
    assert shared == {"synthetic_victims", "training_set"}


def test_versions_are_apart(trained: Platform) -> None:
    """Each has its own folder, name, feature set and decision; the rows behind them are the same."""
    assert len(set(versions(trained).values())) == 2
    scorers = {}
    for name in (BASE, SECOND):
        _, manifest = trained.models.champion(name)  # type: ignore[misc]
        assert (manifest.model, trained.models.versions(name)) == (name, [manifest.version])
        assert manifest.gate["promote"]
        files = trained.models.files(manifest)
        scorers[name] = AccidentScorer.from_files(files, manifest)
        assert f'"model":"{name}"' in files["reference.json"].decode().replace(" ", "")
    assert (scorers[BASE].spec.feature_set, scorers[SECOND].spec.feature_set) == ("call", "full")
    lineages = [trained.models.champion(name)[1].lineage for name in (BASE, SECOND)]  # type: ignore[index]
    assert lineages[0]["sources"] == lineages[1]["sources"]


def test_predictions_logs_and_metrics_are_apart(client: httpx.Client, trained: Platform) -> None:
    """JSON, CSV, tensors and feedback of both models on one server, each answered by its own version."""
    expected, ids = versions(trained), {}
    for name, rows in ((BASE, 1), (SECOND, 2)):
        answer = client.post(f"/predict/{name}", json={"records": [ROAD_USER] * rows}).json()
        assert (answer["model"], answer["version"]) == (name, expected[name])
        ids[name] = [user["prediction_id"] for user in answer["predictions"]]
        table = client.post(
            f"/predict/{name}/csv", content="catu;obs\n" + "1;2\n" * rows, headers={"Content-Type": "text/csv"}
        )
        assert table.headers["x-model-version"] == expected[name]
        tensor = {"name": "catu", "shape": [rows], "datatype": "INT32", "data": [1] * rows}
        inferred = client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}).json()
        assert (inferred["model_name"], inferred["model_version"]) == (name, expected[name])
    inputs = {
        name: {tensor["name"] for tensor in client.get(f"/v2/models/{name}").json()["inputs"]}
        for name in (BASE, SECOND)
    }
    assert inputs[SECOND] - inputs[BASE] >= {"obs", "choc", "manv"}

    wait_for(lambda: prediction_log.prediction(trained.warehouse, ids[SECOND][-1]) is not None)
    for name in (BASE, SECOND):
        logged = prediction_log.prediction(trained.warehouse, ids[name][0])
        assert logged is not None
        assert (logged["model"], logged["version"]) == (name, expected[name])
    label = {"prediction_id": ids[SECOND][0], "severity": 2}
    assert client.post(f"/feedback/{BASE}", json=label).status_code == 404
    assert client.post(f"/feedback/{SECOND}", json=label).json()["status"] == "accepted"

    metrics = client.get("/metrics").text.splitlines()
    for name, rows in ((BASE, 1), (SECOND, 2)):
        assert f'csv_rows_total{{model="{name}",outcome="predicted"}} {rows}.0' in metrics
        counted = [line for line in metrics if line.startswith("predictions_total{") and f'model="{name}"' in line]
        assert sum(float(line.split()[-1]) for line in counted) == 3 * rows
        assert all(f'version="{expected[name]}"' in line for line in counted)


def test_documentation_has_one_schema_for_both(client: httpx.Client) -> None:
    """Paths and operations of their own, with the schemas that they share; an upload may be as large for both."""
    document = client.get("/openapi.json").json()
    for name in (BASE, SECOND):
        assert {f"/predict/{name}", f"/predict/{name}/csv", f"/feedback/{name}"} <= set(document["paths"])
        assert document["paths"][f"/predict/{name}"]["post"]["operationId"] == f"predict_{name}"
    schemas = [name for name in document["components"]["schemas"] if "Feedback" in name]
    assert sorted(schemas) == ["AccidentFeedbackRequest", "FeedbackAnswer"]


def test_monitoring_knows_both(trained: Platform) -> None:
    """The drift service has both names; a stored year is a window for both, scored by each one's champion."""
    scores = {}
    for name in (BASE, SECOND):
        _, manifest = trained.models.champion(name)  # type: ignore[misc]
        files = trained.models.files(manifest)
        reference = read_reference(files[REFERENCE_FILE])
        window = get_model(trained.settings, name).serving().partition_window(trained, manifest, reference, files, 2023)
        assert window is not None
        assert set(window.columns) == set(reference.columns)
        scores[name] = window.score
    assert len(scores[BASE]) == len(scores[SECOND])
    assert (scores[BASE] != scores[SECOND]).any()
    with live(create_drift_app(trained.settings), ready=False) as client:
        for name, kind in ((BASE, "no-report"), (SECOND, "no-report"), ("accidents_other", "no-such-model")):
            assert client.get(f"/monitoring/drift/{name}").json()["type"].endswith(kind)


def test_the_second_instance_needs_the_first(environment: Path) -> None:
    """Its data is missing otherwise: the start ends with one message."""
    with pytest.raises(SettingsError, match=f"'{SECOND}' requires {BASE}.* fix: .*={BASE},{SECOND}"):
        Settings.load(models=SECOND)
    assert Settings.load(models=BASE).model_names == (BASE,)


def test_tables_and_settings_are_those_of_the_first(trained: Platform) -> None:
    """Nothing is declared twice."""
    second: Any = get_model(trained.settings, SECOND)
    assert (second.tables(), second.dashboards(), second.demo()) == ((), (), None)
    tables = [table.name for table in warehouse_tables(trained.settings)]
    assert len(tables) == len(set(tables))
    assert list(type(trained.settings).groups()).count("Accident data") == 1


def test_training_again_would_repeat_both_champions(trained: Platform) -> None:
    """Data, code and settings of the real trainings are those of now; parameters of a search change one instance."""
    for name, version in versions(trained).items():
        model = get_model(trained.settings, name)
        assert describe_repetition(model, trained) == (
            f"data, code and settings are those of the champion {version}: a training would give the same version"
        )
    key = get_tuned_key(SECOND)
    values = {kind: {"chosen": {}} for kind in ("forest", "boosting")}
    trained.objects.write(
        key, canonical_json({"data_source": "sample", "feature_set": "full", "people": 1, "seed": 1, **values})
    )
    try:
        assert describe_repetition(get_model(trained.settings, SECOND), trained) is None
        assert describe_repetition(get_model(trained.settings, BASE), trained) is not None
    finally:
        trained.objects.delete(key)


def test_scores_of_a_range_have_figures_of_each_year(trained: Platform, definitions: dg.Definitions) -> None:
    """One run over two years writes each year's own figures on it, not the range's on both."""
    with dg.DagsterInstance.ephemeral() as instance:
        get_model(trained.settings, BASE).training().register_partitions(instance, trained)
        ingested = definitions.resolve_job_def("ingest_accidents").execute_in_process(
            instance=instance, partition_key="2022"
        )
        assert ingested.success
        tags = {"dagster/asset_partition_range_start": "2022", "dagster/asset_partition_range_end": "2023"}
        assert definitions.resolve_job_def(f"score_{BASE}").execute_in_process(instance=instance, tags=tags).success
        events = instance.fetch_materializations(dg.AssetKey([BASE, "scored_victims"]), limit=10).records
        written = {record.partition_key: record.asset_materialization.metadata for record in events}
    assert set(written) == {"2022", "2023"}
    for year, metadata in written.items():
        scored = pd.read_parquet(io.BytesIO(trained.objects.read(f"assets/{BASE}/scored_victims/{year}.parquet")))
        assert metadata["dagster/row_count"].value == len(scored)
        assert metadata["mean_probability"].value == pytest.approx(scored["probability"].mean())
        assert metadata["version"].value == versions(trained)[BASE]
        assert metadata["dagster/uri"].value.endswith(f"assets/{BASE}/scored_victims/{year}.parquet")
        assert metadata["console"].value.endswith(f"/models/{BASE}/versions/{versions(trained)[BASE]}")
        lineage = metadata["dagster/column_lineage"].value.deps_by_column
        assert set(lineage) == set(scored) - {"version"}
        assert [dep.column_name for dep in lineage["id_usager"]] == ["id_usager"]
        assert {"vma", "catv", "secu1"} <= {dep.column_name for dep in lineage["probability"]}
    assert len({metadata["mean_probability"].value for metadata in written.values()}) == 2
