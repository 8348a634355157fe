"""The manifests, and the values of Dagster's Helm chart, as Kubernetes and the chart read them."""

from __future__ import annotations

from functools import reduce
from typing import Any

import yaml
from dagster_k8s import DagsterK8sJobConfig, construct_dagster_k8s_job
from dagster_k8s.container_context import K8sContainerContext
from kubernetes.client import ApiClient

from accident_reco.launch.stack_config import DEPLOY

HELM = ("dagster-values.yaml",)
HELM_WITH_DVC = (*HELM, "dagster-dvc-values.yaml")


def manifests() -> list[dict[str, Any]]:
    """Objects of services.yaml."""
    return [doc for doc in yaml.safe_load_all((DEPLOY / "kubernetes" / "services.yaml").read_text()) if doc]


def helm_values(*names: str) -> dict[str, Any]:
    """Values as helm merges files: maps are merged, everything else is replaced."""

    def merged(below: Any, above: Any) -> Any:
        if isinstance(below, dict) and isinstance(above, dict):
            return below | {key: merged(below.get(key), value) for key, value in above.items()}
        return above

    texts = [(DEPLOY / "kubernetes" / name).read_text() for name in names]
    return dict(reduce(merged, map(yaml.safe_load, texts)))


def build_run_job(values: dict[str, Any]) -> dict[str, Any]:
    """The job of a run as dagster-k8s builds it from the chart's values."""
    stated = values["runLauncher"]["config"]["k8sRunLauncher"]
    image = stated["image"]
    config = {
        "env_secrets": [secret["name"] for secret in stated["envSecrets"]],
        "resources": stated["resources"],
        "security_context": stated["securityContext"],
        "volumes": stated.get("volumes", []),
        "volume_mounts": stated.get("volumeMounts", []),
        "run_k8s_config": {"pod_spec_config": stated["runK8sConfig"]["podSpecConfig"]},
    }
    context = K8sContainerContext.create_from_config({"k8s": config})
    base = DagsterK8sJobConfig(job_image=f"{image['repository']}:{image['tag']}", dagster_home="/opt/dagster/home")
    job = construct_dagster_k8s_job(base, ["dagster", "api", "execute_run"], "run", context.run_k8s_config)
    return dict(ApiClient().sanitize_for_serialization(job))


def require_restricted(pod: dict[str, Any], *containers: dict[str, Any]) -> None:
    """Assert that containers satisfy the Pod Security level "restricted", with what their pod states for all."""
    for container in containers:
        stated = pod | container
        assert stated["runAsNonRoot"] is True
        assert stated["runAsUser"] == 10001
        assert stated["seccompProfile"]["type"] == "RuntimeDefault"
        assert stated["allowPrivilegeEscalation"] is False
        assert stated["capabilities"] == {"drop": ["ALL"]}
