"""The asset graph: it loads, every asset is described, every input of a model has a blocking check."""

import importlib.util
import subprocess
import sys
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from accident_reco.definitions import defs
from accident_reco.defs.freshness import YEARLY
from accident_reco.models.accidents.assets.partitions import YEARS
from accident_reco.models.accidents.codebook import TABLES
from accident_reco.registry import all_models
from accident_reco.settings import Settings

CONTRACT = {
    "accidents/caracteristiques",
    "accidents/lieux",
    "accidents/vehicules",
    "accidents/usagers",
    "accidents/victims",
    "accidents/quarantine",
    "accidents/scored_victims",
    "accidents/synthetic_victims",
    "accidents/training_set",
    "accidents/features",
    "accidents/candidate_model",
    "accidents/production_model",
    "accidents/warehouse_tables",
    "accidents/drift_report",
    "movies/raw_ratings",
    "movies/raw_movies",
    "movies/warehouse_tables",
    "movies/ratings_split",
    "movies/svd_model",
    "movies/knn_model",
    "movies/baseline_model",
    "movies/candidate_model",
    "movies/production_model",
    "movies/drift_report",
}
"""Asset keys that clients depend on."""
UNPOOLED = (("report", "_drift"), ("evaluate", "_rollout"))
"""Jobs of each model that are in no pool: the parts of their names around the model's."""


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return defs()


@pytest.fixture(scope="module")
def graph(definitions: dg.Definitions) -> Any:
    return definitions.resolve_asset_graph()


def test_definitions_load(definitions: dg.Definitions) -> None:
    """The checks of `dg check defs`, without its process."""
    dg.Definitions.validate_loadable(definitions)


def test_assets_by_year_share_their_partitions(graph: Any) -> None:
    """Those that the source offers: a year of one asset is the same year of the others."""
    found = {graph.get(key).partitions_def for key in graph.materializable_asset_keys} - {None}
    assert found == {YEARS}


def test_asset_keys_keep_the_contract(graph: Any) -> None:
    """Dashboards, backfills and callers name these keys."""
    keys = {key.to_user_string() for key in graph.materializable_asset_keys}
    assert keys >= CONTRACT, sorted(CONTRACT - keys)


def test_every_asset_is_described(graph: Any) -> None:
    """Group, owner, kinds and description."""
    undescribed = []
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        described = (node.group_name != "default", node.owners, node.kinds, node.description)
        if not all(described):
            undescribed.append((key.to_user_string(), described))
    assert undescribed == []


def test_every_input_of_a_model_has_a_blocking_check(graph: Any) -> None:
    """Every asset upstream of a production model blocks invalid data before training."""
    checked = {key.asset_key for key in graph.asset_check_keys if graph.get(key).blocking}
    for model in ("accidents", "movies"):
        production = dg.AssetKey([model, "production_model"])
        upstream = {production} | graph.get_ancestor_asset_keys(production)
        unchecked = {key.to_user_string() for key in upstream - checked if graph.get(key).is_materializable}
        assert unchecked == set()


def test_no_job_mixes_partitioned_and_unpartitioned_assets(definitions: dg.Definitions, graph: Any) -> None:
    """A mixed job runs its unpartitioned assets once per partition: a backfill of two years would train twice."""
    named = [job for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")]
    assert len(named) >= 6
    for job in named:
        selected = job.asset_layer.selected_asset_keys if job.asset_layer else set()
        kinds = {graph.get(key).is_partitioned for key in selected if key in graph.materializable_asset_keys}
        assert len(kinds) <= 1, job.name


def test_jobs_that_must_not_run_twice_are_in_pools(definitions: dg.Definitions, graph: Any) -> None:
    """Pool of each job's assets; drift reports and the evaluation of rollouts may run beside any other run."""
    found = {
        job.name: set().union(*(graph.get(key).pools for key in job.asset_layer.selected_asset_keys))
        for job in definitions.resolve_all_job_defs()
        if job.asset_layer and job.asset_layer.selected_asset_keys and not job.name.startswith("__")
    }
    without = {f"{what}_{model}{end}" for model in ("accidents", "movies") for what, end in UNPOOLED}
    assert {job for job, pools in found.items() if not pools} == without
    assert {job: pools for job, pools in found.items() if pools} == {
        "ingest_accidents": {"accidents_ingest"},
        "load_accidents": {"accidents_ingest"},
        "ingest_movies": {"movies_ingest"},
        "score_accidents": {"accidents_scoring"},
        "train_accidents": {"accidents_training"},
        "train_movies": {"movies_training"},
        "tune_accidents": {"accidents_training"},
    }


def test_what_ages_has_a_freshness_policy(graph: Any) -> None:
    """Ingested data and scores by their age, drift reports by their schedule."""
    policies = {key.to_user_string(): graph.get(key).freshness_policy for key in graph.materializable_asset_keys}
    reports = {f"{model}/drift_report" for model in ("accidents", "movies")}
    ingested = {*(f"accidents/{name}" for name in (*TABLES, "victims", "quarantine", "scored_victims"))}
    ingested |= {f"{model}/warehouse_tables" for model in ("accidents", "movies")}
    ingested |= {"movies/raw_ratings", "movies/raw_movies"}
    assert {key for key, policy in policies.items() if policy == YEARLY} == ingested
    assert {key for key, policy in policies.items() if policy not in (None, YEARLY)} == reports
    assert policies["accidents/drift_report"] == dg.FreshnessPolicy.cron("0 * * * *", timedelta(hours=1))


def test_partitions_on_workers_are_in_no_pool() -> None:
    """Workers execute the runs of different years side by side; trainings stay one at a time."""
    settings = Settings.load(broker_url="redis://127.0.0.1:1/0")
    found = all_models()["accidents"].training().definitions(settings).assets or ()
    pools = {asset.op.name: asset.op.pool for asset in found if isinstance(asset, dg.AssetsDefinition)}
    assert (pools["accident_years"], pools["scored_victims"]) == (None, None)
    assert pools["accidents__features"] == "accidents_training"


@pytest.mark.parametrize("service", ["predict", "auth", "drift"])
def test_servers_do_not_import_the_training_stack(service: str) -> None:
    """A server that imports MLflow or scikit-learn starts in ten seconds and needs half a gigabyte."""
    heavy = "dagster mlflow sklearn surprise evidently lightgbm implicit matplotlib pandas"
    script = (
        f"import sys, importlib; importlib.import_module('serving.{service}.app'); "
        f"print(*sorted(set('{heavy}'.split()) & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_definitions_do_not_import_the_training_stack() -> None:
    """The code server loads in seconds: heavy imports are inside of the functions that need them."""
    heavy = "mlflow fastapi evidently sklearn surprise lightgbm matplotlib"
    script = (
        "import sys, accident_reco.definitions; accident_reco.definitions.defs(); "
        f"print(*sorted(set('{heavy}'.split()) & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_steps_are_forks_unless_a_run_is_configured_as_one_process() -> None:
    """Trainings fork their steps from a process that has imported the platform; a run can be one process."""
    from accident_reco.defs.steps import FORKED_STEPS, FORKED_TRAINING, PRELOADED_FOR_TRAINING

    def configured(config: dict[str, object]) -> dict[str, object]:
        value = FORKED_TRAINING.apply_config_mapping({"config": config}).value
        return value["config"]  # type: ignore[no-any-return, index]

    forked = configured({"multiprocess": {"max_concurrent": 1}})["multiprocess"]
    assert isinstance(forked, dict)
    assert forked["start_method"] == {"forkserver": {"preload_modules": PRELOADED_FOR_TRAINING}}
    assert forked["max_concurrent"] == 1
    assert set(configured({"in_process": {}})) == {"in_process"}
    jobs = {
        "train_movies": FORKED_TRAINING,
        "train_accidents": FORKED_TRAINING,
        "ingest_accidents": FORKED_STEPS,
        "load_accidents": dg.in_process_executor,
    }
    for job, executor in jobs.items():
        assert defs().resolve_job_def(job).executor_def is executor
    for module in PRELOADED_FOR_TRAINING:  # a forkserver ignores modules that it cannot import
        assert importlib.util.find_spec(module)
