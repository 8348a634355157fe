"""Inputs of promoted versions under DVC with a real S3 remote: one command reproduces the version from a fresh clone,
bit for bit. An unreachable remote does not stop a promotion; no key is in the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import dagster as dg
import pytest

from accident_reco.defs.dataset import dataset_key, definitions
from accident_reco.launch.home import child_environment, prepare_home
from accident_reco.launch.processes import Children
from accident_reco.lifecycle.bundle import canonical_json, sha256
from accident_reco.lifecycle.dataset import DatasetError, Datasets
from accident_reco.lifecycle.promotion import promote
from accident_reco.lifecycle.store import ModelStore
from accident_reco.models.accidents.training.fitting import BoostingParameters, ForestParameters
from accident_reco.models.accidents.training.parameters import get_tuned_key
from accident_reco.models.accidents.training.tuning import SPACE
from accident_reco.registry import all_models
from accident_reco.settings import Settings, variable
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.e2e.conftest import S3, start_s3
from accident_reco_tests.support.promotion import BETTER, POLICY, build_bundle
from accident_reco_tests.support.running import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
TRAIN = textwrap.dedent("""
    import dagster as dg
    from accident_reco.definitions import defs
    from accident_reco.models.accidents.assets.partitions import register_years

    platform, year = defs(), {"dagster/partition": "2022"}
    with dg.DagsterInstance.get() as instance:
        register_years(instance, [2022])
        for job in ("ingest_accidents", "train_accidents", "ingest_movies", "train_movies"):
            tags = year if job == "ingest_accidents" else {}
            assert platform.resolve_job_def(job).execute_in_process(instance=instance, tags=tags).success
""")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DVC, installed by `make dvc` into a home of its own."""
    home = tmp_path_factory.mktemp("tools")
    make = ["make", "--no-print-directory", "dvc", f"ACCIDENT_RECO_HOME={home}"]
    subprocess.run(make, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return home / "tools" / "bin" / "dvc"


class Trained:
    """A platform with versioned inputs that has trained both models."""

    def __init__(self, folder: Path, s3: S3, program: Path) -> None:
        chosen = {
            "home": folder / "home",
            "dvc_remote": "s3://artifacts/dvc",
            "dvc_program": str(program),
            "accidents_sample_years": "2022",
            "accidents_sample_people": 800,
            "accidents_floor": 0.5,
            "accidents_forest_trees": 10,
            "accidents_boosting_rounds": 20,
            "movies_sample_ratings": 2000,
            "movies_floor": 0.0,
            "mlflow_tracking_uri": "http://127.0.0.1:1",
        }
        self.settings = Settings.load(**chosen)
        prepare_home(self.settings)
        stated = {variable(name): str(value) for name, value in chosen.items()}
        self.environ = child_environment(self.settings, {**os.environ, **s3.environ, **stated})
        self.models = ModelStore(open_store(self.settings.store))
        self.program = str(program)
        # Tuned parameters determine the version as the data does, so they are inputs too.
        forest, boosting = ForestParameters(leaf=20), BoostingParameters(leaves=31)
        chosen_of = {"forest": asdict(forest), "boosting": asdict(boosting)}
        found = {name: {"chosen": {key: chosen_of[name][key] for key in SPACE[name]}} for name in SPACE}
        document = {"data_source": "sample", "feature_set": "call", "people": 600, **found}
        open_store(self.settings.store).write(get_tuned_key("accidents"), canonical_json(document))
        self.run(sys.executable, "-c", TRAIN)

    def run(self, *command: str, cwd: Path = ROOT, code: int = 0, **environ: str) -> str:
        done = subprocess.run(command, cwd=cwd, env=self.environ | environ, capture_output=True, text=True, timeout=600)
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(s3_server: S3, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("dvc"), s3_server, program)


@pytest.fixture(scope="module")
def clone(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the repository, with the data from the remote."""
    folder = tmp_path_factory.mktemp("elsewhere") / "datasets"
    trained.run("git", "clone", "--quiet", str(trained.settings.datasets), str(folder))
    trained.run(trained.program, "pull", "--quiet", cwd=folder)
    return folder


@pytest.mark.parametrize("model", ["accidents", "movies"])
def test_version_is_reproduced_bit_for_bit(trained: Trained, clone: Path, model: str, tmp_path: Path) -> None:
    """Lineage names md5 and revision; the clone at that revision has those inputs; from them the platform makes the
    same version again, file by file, without the first installation's store, warehouse or settings."""
    champion = trained.models.champion(model)
    assert champion is not None
    pointer, manifest = champion
    if model == "accidents":
        assert manifest.lineage["parameters"]["chosen"].startswith("tuned on 600 road users of sample, search ")
    dataset = manifest.lineage["dataset"]
    assert dataset["remote"] == "s3://artifacts/dvc"
    at_revision = trained.run("git", "show", f"{dataset['git_revision']}:{dataset['path']}.dvc", cwd=clone)
    assert f"md5: {dataset['md5']}" in at_revision
    tagged = trained.run("git", "rev-parse", f"{model}/{pointer.version}", cwd=clone).strip()
    assert tagged == dataset["git_revision"]

    reproduce = [sys.executable, "-m", "accident_reco.defs.reproduce", model, "--from", str(clone / dataset["path"])]
    elsewhere = {"ACCIDENT_RECO_SEED": "7", "ACCIDENT_RECO_HOME": str(tmp_path / "not here")}
    output = trained.run(*reproduce, "--to", str(tmp_path / "again"), **elsewhere)
    assert pointer.version in output.splitlines()
    again = {path.name: sha256(path.read_bytes()) for path in (tmp_path / "again").iterdir()}
    assert again == {name: stated["sha256"] for name, stated in manifest.files.items()}
    assert not (tmp_path / "not here").exists()


def test_changed_input_gives_another_version(trained: Trained, clone: Path, tmp_path: Path) -> None:
    """The recipe is part of the inputs: with another seed the command fails and names both versions."""
    folder = shutil.copytree(clone / "movies" / "inputs", tmp_path / "inputs")
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["settings"]["seed"] += 1
    (folder / "recipe.json").write_text(json.dumps(recipe))
    program = (sys.executable, "-m", "accident_reco.defs.reproduce")
    output = trained.run(*program, "movies", "--from", str(folder), code=1)
    assert f"expected {recipe['version']}, which was trained by the code of {recipe['code']}" in output
    output = trained.run(*program, "accidents", "--from", str(folder), code=2)
    assert "holds inputs of movies, not of accidents" in output


def test_asset_shows_the_dataset(trained: Trained) -> None:
    """In the graph where versioning is on, materialized by the promotion; absent where it is off."""
    there = {
        spec.key: spec
        for model in all_models().values()
        for spec in definitions(model, trained.settings).resolve_all_asset_specs()
    }
    assert all(there[dataset_key(model)].kinds == {"dvc", "git"} for model in all_models())
    off = Settings.load(home=trained.settings.home)
    assert not any(list(definitions(model, off).resolve_all_asset_specs()) for model in all_models().values())
    with dg.DagsterInstance.from_config(str(trained.settings.dagster_home)) as instance:
        for model in all_models():
            event = instance.get_latest_materialization_event(dataset_key(model))
            assert event
            assert event.asset_materialization
            metadata = {name: value.value for name, value in event.asset_materialization.metadata.items()}
            champion = trained.models.champion(model)
            assert champion
            assert metadata["version"] == champion[0].version
            assert metadata["md5"] == champion[1].lineage["dataset"]["md5"]
            assert metadata["pushed"] == "yes"
            assert metadata["files"] >= 3


def test_repository_holds_no_key(trained: Trained, s3_server: S3) -> None:
    """Neither in a file nor in its history; and no path of this machine in a commit."""
    repository = trained.settings.datasets
    for secret in (s3_server.access_key, s3_server.secret_key):
        found = subprocess.run(
            ["grep", "--recursive", "--text", "--files-with-matches", secret, str(repository)], capture_output=True
        )
        assert found.returncode == 1, found.stdout
    committed = trained.run("git", "log", "--all", "--patch", cwd=repository)
    assert str(trained.settings.home) not in committed


@pytest.fixture
def stopped_s3(children: Children, tmp_path: Path) -> Iterator[S3]:
    """An S3 server of its own that is stopped."""
    made = start_s3(children, tmp_path / "s3")
    children.kill("s3")
    yield made
    children.kill("s3")  # the test has started it again


def test_unreachable_remote_does_not_stop_a_promotion(
    stopped_s3: S3, children: Children, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promoted, committed, with complete lineage; the data is pushed later, to the remote's new place. Other
    settings of DVC are kept.
    """
    for name, value in stopped_s3.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    settings = Settings.load(home=tmp_path / "home", dvc_remote="s3://artifacts/before", dvc_program=str(program))
    datasets, kept = Datasets(settings), []

    def fill(folder: Path) -> None:
        (folder / "rows.csv").write_text("a,b\n1,2\n")

    def keep(candidate: object) -> dict[str, object]:
        kept.append(datasets.keep("accidents", "0123456789abcdef", fill))
        return {"dataset": kept[0].lineage()}

    warehouse = Warehouse(f"sqlite:///{tmp_path / 'w.db'}")
    warehouse.upgrade()
    models = ModelStore(open_store((tmp_path / "store").as_uri()))
    promote(models, warehouse, build_bundle(b"one"), lambda *_: BETTER, POLICY, "r", keep=keep)
    warehouse.close()
    champion = models.champion("accidents")
    assert champion
    assert champion[1].lineage["dataset"]["md5"] == kept[0].md5
    assert "dvc push" in kept[0].problem

    start_s3(children, tmp_path / "s3", like=stopped_s3)
    with (settings.datasets / ".dvc" / "config").open("a") as config:
        config.write("[cache]\n    protected = true\n")
    moved = settings.model_copy(update={"dvc_remote": "s3://artifacts/dvc"})
    assert Datasets(moved).push() == ""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(settings.datasets), str(clone)], check=True)
    subprocess.run([str(program), "pull", "--quiet"], cwd=clone, check=True)
    assert (clone / "accidents" / "inputs" / "rows.csv").read_text() == "a,b\n1,2\n"
    config_text = (clone / ".dvc" / "config").read_text()
    assert "url = s3://artifacts/dvc\n" in config_text
    assert "protected = true" in config_text


def test_missing_dvc_stops_the_promotion(tmp_path: Path) -> None:
    """With versioning on and without DVC: an error with the fix, before anything has changed."""
    settings = Settings.load(home=tmp_path / "h", dvc_remote="s3://artifacts/x", dvc_program=str(tmp_path / "no-dvc"))
    warehouse = Warehouse(f"sqlite:///{tmp_path / 'w.db'}")
    warehouse.upgrade()
    models = ModelStore(open_store((tmp_path / "store").as_uri()))

    def keep(candidate: object) -> dict[str, object]:
        return {"dataset": Datasets(settings).keep("accidents", "v", lambda folder: None).lineage()}

    with pytest.raises(DatasetError, match="`make dvc` installs DVC there"):
        promote(models, warehouse, build_bundle(b"one"), lambda *_: BETTER, POLICY, "r", keep=keep)
    assert models.pointer("accidents") is None
    assert models.versions("accidents") == []
    warehouse.close()
