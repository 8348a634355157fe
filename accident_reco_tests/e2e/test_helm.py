"""Values of Dagster's Helm chart: what the chart accepts, and that runs behave as with dagster.yaml on one machine.

Rendering needs the chart itself, which no package registry has: its templates for dagster.yaml are followed here.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg
import jsonschema
import kubernetes_validate
import pytest
import yaml

from accident_reco.defs.dagster_internals import WILL_RETRY_TAG
from accident_reco.launch.stack_config import DEPLOY
from accident_reco.settings import unknown_settings
from accident_reco_tests.support.kubernetes_files import (
    HELM,
    HELM_WITH_DVC,
    build_run_job,
    helm_values,
    manifests,
    require_restricted,
)

pytestmark = pytest.mark.e2e
CHART: dict[str, Any] = json.loads((Path(__file__).parent / "dagster-chart.json").read_text())
DAGSTER_YAML = (DEPLOY.parent / "dagster.yaml").read_text()
RUNS = [build_run_job(helm_values(*names)) for names in (HELM, HELM_WITH_DVC)]


def test_dagster_pods_are_restricted() -> None:
    """Web server, daemon and code location of the chart; no port that needs root."""
    values = helm_values(*HELM)
    (code,) = values["dagster-user-deployments"]["deployments"]
    for stated in (values["dagsterWebserver"], values["dagsterDaemon"], code):
        require_restricted(stated["podSecurityContext"], stated["securityContext"])
    port = values["dagsterWebserver"]["service"]["port"]
    assert port == values["dagsterWebserver"]["readinessProbe"]["httpGet"]["port"] > 1024
    (policy,) = [d for d in manifests() if d["kind"] == "NetworkPolicy" and d["metadata"]["name"] == "dagster"]
    served = {entry["port"] for rule in policy["spec"]["ingress"] for entry in rule["ports"]}
    assert served == {port, code["port"]}


def test_inputs_repository_is_on_a_volume() -> None:
    """With DVC on, runs mount the claim at the repository's setting, which the file documents."""
    claim = yaml.safe_load((DEPLOY / "kubernetes" / "datasets.yaml").read_text())
    kubernetes_validate.validate(claim, "1.33", strict=True)
    pod = RUNS[1]["spec"]["template"]["spec"]
    (volume,) = [found for found in pod["volumes"] if "persistentVolumeClaim" in found]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (mount,) = [found for found in pod["containers"][0]["volumeMounts"] if found["name"] == volume["name"]]
    text = (DEPLOY / "kubernetes" / "dagster-dvc-values.yaml").read_text()
    stated = dict(re.findall(r"^#   (ACCIDENT_RECO_\w+)=(\S+)$", text, re.MULTILINE))
    assert unknown_settings(stated) == {}
    assert stated["ACCIDENT_RECO_DVC_REPOSITORY"].startswith(f"{mount['mountPath']}/")
    assert stated["ACCIDENT_RECO_DVC_REMOTE"].startswith("s3://")
    assert not [found for found in RUNS[0]["spec"]["template"]["spec"]["volumes"] if "persistentVolumeClaim" in found]


def test_helm_values_agree_with_the_images_and_versions() -> None:
    """The chart has Dagster's version, compose's image, and the platform's code location and queue."""
    text = (DEPLOY / "kubernetes" / "dagster-values.yaml").read_text()
    values = yaml.safe_load(text)
    page = (DEPLOY.parent / "docs" / "pages" / "how-to" / "deploy-kubernetes.md").read_text()
    for stated in (text, page):
        assert f"--version {dg.__version__} " in stated
    assert CHART["x-chart-version"] == dg.__version__, "compare the chart's schema with e2e/dagster-chart.json"
    image = values["runLauncher"]["config"]["k8sRunLauncher"]["image"]
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    assert f"{image['repository']}:{image['tag']}" == compose["services"]["code"]["image"]
    assert "accident_reco.definitions" in values["dagster-user-deployments"]["deployments"][0]["dagsterApiGrpcArgs"]
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]
    ours = yaml.safe_load(DAGSTER_YAML)["run_coordinator"]
    assert (queue["module"], queue["class"]) == (ours["module"], ours["class"])
    assert queue["config"].items() >= ours["config"].items()


@pytest.mark.parametrize("names", [HELM, HELM_WITH_DVC], ids=len)
def test_the_chart_knows_every_value(names: tuple[str, ...]) -> None:
    """Each field exists in the chart and has its type; a misspelt one is an error and not without effect."""
    values = helm_values(*names)
    validator = jsonschema.Draft7Validator(CHART)
    validator.validate(values)
    values["dagsterDaemon"] |= {"runRetry": {"enabled": True}}
    with pytest.raises(jsonschema.ValidationError, match="runRetry"):
        validator.validate(values)


def _build_instance(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of dagster.yaml as the chart writes them of these values, without storage and launcher.

    A part that the values switch off is left out, and `additionalInstanceConfig` is added word for word, so that
    neither may have a part that the chart writes itself.
    """
    daemon, chart = values["dagsterDaemon"], dict[str, Any]()
    for part in ("sensors", "schedules"):
        assert daemon[part] == {"useThreads": False}
    for own in (daemon["runMonitoring"], daemon["runRetries"], values["retention"]):
        assert own == {"enabled": False}
    chart["run_coordinator"] = daemon["runCoordinator"]["config"]["customRunCoordinator"]
    chart["python_logs"] = {"dagster_handler_config": values["pythonLogs"]["dagsterHandlerConfig"]}
    chart["telemetry"] = values["telemetry"]
    assert not chart.keys() & values["additionalInstanceConfig"].keys()
    return chart | values["additionalInstanceConfig"]


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dg.DagsterInstance]]:
    """Dagster with the settings of dagster.yaml (`machine`), and with those of the chart (`kubernetes`)."""
    texts = {"machine": DAGSTER_YAML, "kubernetes": yaml.safe_dump(_build_instance(helm_values(*HELM)))}
    with ExitStack() as stack:
        opened = {}
        for name, text in texts.items():
            home = tmp_path_factory.mktemp(name)
            (home / "dagster.yaml").write_text(text)
            opened[name] = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        yield opened


def test_runs_are_retried_limited_and_forgotten_alike_everywhere(instances: dict[str, dg.DagsterInstance]) -> None:
    """Every part of dagster.yaml is in the chart's, word for word, except for what pods do differently."""
    ours, chart = yaml.safe_load(DAGSTER_YAML), _build_instance(helm_values(*HELM))
    # Pods: their own launcher, more of them at once, and longer starts; the queue's class is compared elsewhere.
    for part in ("run_launcher", "run_coordinator"):
        ours.pop(part)
    ours["concurrency"].pop("runs")
    ours["run_monitoring"] |= {"start_timeout_seconds": 300, "max_resume_run_attempts": 0}
    assert {part: chart.get(part) for part in ours} == ours
    settings = [
        *("run_retries_enabled", "run_retries_max_retries", "run_retries_retry_on_asset_or_op_failure"),
        *("run_monitoring_enabled", "run_monitoring_poll_interval_seconds", "run_monitoring_max_runtime_seconds"),
        *("run_monitoring_cancel_timeout_seconds", "run_monitoring_max_resume_run_attempts"),
        *("telemetry_enabled", "nux_enabled"),
    ]
    machine, kubernetes = (
        {name: getattr(instances[where], name) for name in settings}
        | {part: instances[where].get_settings(part) for part in ("retention", "sensors", "schedules", "backfills")}
        for where in ("machine", "kubernetes")
    )
    assert machine == kubernetes
    pools = [instance.get_concurrency_config().pool_config for instance in instances.values()]
    assert pools[0] == pools[1]
    assert (pools[0].pool_granularity.value, pools[0].default_pool_limit) == ("run", 1)


# The chart has python_logs, which Dagster calls beta.
@pytest.mark.filterwarnings("ignore:Handling yaml-defined logging configuration:dagster.BetaWarning")
@pytest.mark.parametrize("where", ["machine", "kubernetes"])
def test_a_run_that_a_blocking_check_stopped_is_not_retried(
    instances: dict[str, dg.DagsterInstance], where: str
) -> None:
    """It would fail again; Dagster's own default would retry it."""

    @dg.asset(check_specs=[dg.AssetCheckSpec("complete", asset="rows", blocking=True)])
    def rows() -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        yield dg.Output(None)
        yield dg.AssetCheckResult(passed=False, check_name="complete")

    done = dg.materialize([rows], instance=instances[where], raise_on_error=False)
    assert not done.success
    run = instances[where].get_run_by_id(done.run_id)
    assert run is not None
    assert run.tags[WILL_RETRY_TAG] == "false"


@pytest.mark.parametrize("job", RUNS, ids=["plain", "dvc"])
def test_a_pod_of_a_run_is_not_restarted(job: dict[str, Any]) -> None:
    """Dagster retries the run; Kubernetes would execute the same run again. Its image is pulled where it is absent."""
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    launcher = helm_values(*HELM)["runLauncher"]["config"]["k8sRunLauncher"]
    assert launcher["imagePullPolicy"] == launcher["image"]["pullPolicy"]
