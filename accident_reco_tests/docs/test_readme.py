"""The README names what exists: a setting, asset, endpoint, metric or command that it does not name fails here."""

import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from accident_reco.definitions import defs
from accident_reco.settings import Settings, variable

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([^`\n]+)`", README))


def test_every_setting_is_documented_with_its_default() -> None:
    """A setting that nobody knows of is not one; a default that the table states wrongly is worse."""
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", README, re.MULTILINE))
    missing = {variable(name) for name in Settings.model_fields} - rows.keys()
    assert missing == set()
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, int | float) or (isinstance(field.default, str) and field.default):
            assert rows[variable(name)].strip() == f"`{field.default}`", variable(name)


def test_every_asset_is_documented() -> None:
    """Keys are contracts."""
    graph = defs().resolve_asset_graph()
    assert {key.to_user_string() for key in graph.materializable_asset_keys} - NAMED == set()


def test_every_job_and_sensor_is_documented() -> None:
    """What an operator finds in the UI is explained."""
    definitions = defs()
    jobs = {job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    automation = {sensor.name for sensor in definitions.sensors or ()} | {s.name for s in definitions.schedules or ()}
    assert (jobs | automation) - NAMED == set()


@pytest.mark.parametrize("service", ["auth", "predict", "drift"])
def test_every_endpoint_is_documented(service: str, tmp_path: Path) -> None:
    """Method and path of every route, as `METHOD /path`."""
    from importlib import import_module

    app = import_module(f"serving.{service}.app").create_app(Settings.load(home=tmp_path))
    routes = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    assert routes - NAMED == set()


def test_every_metric_is_documented() -> None:
    """Every metric family that a service registers."""
    for service in ("auth", "predict", "drift"):
        __import__(f"serving.{service}.app")
    ours = {family.name for family in REGISTRY.collect() if not family.name.startswith(("python_", "process_"))}
    assert ours
    assert {name for name in ours if not any(re.match(rf"{name}(_total)?$", named) for named in NAMED)} == set()


def test_every_make_target_is_documented() -> None:
    """`make help` and the README agree."""
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"make ([a-z-]+)", told))
    assert {f"make {target}" for target in targets} - set(re.findall(r"make [a-z-]+", README)) == set()
