"""Writes deploy/kubernetes/services.yaml: `python deploy/kubernetes/make_manifests.py`. Edit here, not the YAML.

The services differ in name, port, secrets and allowed connections; everything else is shared. Dagster is installed by
its own Helm chart with dagster-values.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
IMAGE = "accident-reco/serving:0.2.0"
NAMESPACE = "accident-reco"
POSTGRES, S3, MLFLOW, CODE = 5432, 8333, 5000, 4000
HTTPS, KUBERNETES = 443, 6443  # published data, DVC remote; the API server, which starts pods of runs
WEBSERVER = 8080


@dataclass(frozen=True)
class Service:
    """One HTTP service."""

    name: str
    port: int
    database_secret: str
    calls: tuple[int, ...]
    replicas: int = 2
    max_replicas: int = 6
    memory: str = "512Mi"
    alert_secret: bool = False
    keeps_keys: bool = False
    settings: tuple[tuple[str, str], ...] = ()


SERVICES = (
    Service(
        "auth", 7999, "auth_database_url", (POSTGRES,), replicas=1, max_replicas=1, memory="256Mi", keeps_keys=True
    ),
    Service("predict", 8000, "services_database_url", (POSTGRES, S3, 7999), max_replicas=10),
    Service(
        "drift",
        8001,
        "services_database_url",
        (POSTGRES, S3, 7999),
        replicas=1,
        max_replicas=2,
        memory="1Gi",
        alert_secret=True,
    ),
    Service(
        "console",
        8002,
        "console_database_url",
        (POSTGRES, 7999, 8000, 8001),
        memory="256Mi",
        settings=(
            ("INTERNAL_AUTH_URL", "http://auth:7999"),
            ("INTERNAL_PREDICT_URL", "http://predict:8000"),
            ("INTERNAL_DRIFT_URL", "http://drift:8001"),
        ),
    ),
)


def documents() -> list[dict[str, Any]]:
    """Every object, in the order of application."""
    found: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        },
        _object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "default-deny",
            {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        ),
        _object("v1", "ServiceAccount", "serving", None) | {"automountServiceAccountToken": False},
        _object(
            "v1",
            "PersistentVolumeClaim",
            "auth-keys",
            {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
        ),
        _prepare(),
        _policy("prepare", _labels("prepare"), [], [POSTGRES]),
        # The chart's pods and those of runs: all have the label of the release, `helm install dagster`.
        _policy(
            "dagster",
            {"app.kubernetes.io/instance": "dagster"},
            [WEBSERVER, CODE],
            [POSTGRES, S3, MLFLOW, CODE, HTTPS, KUBERNETES],
        ),
    ]
    for service in SERVICES:
        found += [_deployment(service), _service(service), _autoscaler(service), _budget(service)]
        found.append(_policy(service.name, _labels(service.name), [service.port], service.calls))
    return found


def _object(version: str, kind: str, name: str, spec: dict[str, Any] | None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "accident-reco"}}
    document: dict[str, Any] = {"apiVersion": version, "kind": kind, "metadata": metadata}
    return document if spec is None else document | {"spec": spec}


def _labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "accident-reco"}


def _environment(service: Service) -> list[dict[str, str]]:
    values = {
        "ACCIDENT_RECO_DATABASE_URL_FILE": f"/run/secrets/platform/{service.database_secret}",
        "ACCIDENT_RECO_METRICS_PUBLIC": "true",
        f"ACCIDENT_RECO_{service.name.upper()}_PORT": str(service.port),
    }
    if S3 in service.calls:
        values |= {
            "ACCIDENT_RECO_STORE_URL": "s3://artifacts/platform",
            "ACCIDENT_RECO_INTERNAL_AUTH_URL": "http://auth:7999",
            "AWS_ENDPOINT_URL": "http://s3:8333",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_SHARED_CREDENTIALS_FILE": "/run/secrets/platform/s3_credentials",
        }
    values |= {f"ACCIDENT_RECO_{name}": value for name, value in service.settings}
    if service.alert_secret:
        values["ACCIDENT_RECO_ALERT_SECRET_FILE"] = "/run/secrets/platform/alert_secret"  # noqa: S105
    return [{"name": name, "value": value} for name, value in values.items()]


def _secret_items(service: Service) -> list[dict[str, str]]:
    names = [service.database_secret]
    names += ["s3_credentials"] if S3 in service.calls else []
    names += ["alert_secret"] if service.alert_secret else []
    return [{"key": name, "path": name} for name in names]


LOCKED_DOWN = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
VOLUME_MOUNTS = [
    {"name": "data", "mountPath": "/data"},
    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
    {"name": "secrets", "mountPath": "/run/secrets/platform", "readOnly": True},
]


def _deployment(service: Service) -> dict[str, Any]:
    def probe(path: str, **rest: int) -> dict[str, Any]:
        return {"httpGet": {"path": path, "port": "http"}, **rest}

    data: dict[str, Any] = (
        {"name": "data", "persistentVolumeClaim": {"claimName": "auth-keys"}}
        if service.keeps_keys
        else {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}
    )
    container = {
        "name": service.name,
        "image": IMAGE,
        "command": ["python", "-m", f"serving.{service.name}"],
        "ports": [{"name": "http", "containerPort": service.port}],
        "env": _environment(service),
        "securityContext": LOCKED_DOWN,
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": service.memory}},
        "startupProbe": probe("/livez", periodSeconds=2, failureThreshold=30),
        "livenessProbe": probe("/livez", periodSeconds=10, failureThreshold=3),
        "readinessProbe": probe("/readyz", periodSeconds=5, failureThreshold=2),
        "volumeMounts": VOLUME_MOUNTS,
    }
    spec = {
        "serviceAccountName": "serving",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 20,
        "securityContext": {"fsGroup": 10001},
        "containers": [container],
        "volumes": [
            data,
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
            {"name": "secrets", "secret": {"secretName": "platform", "items": _secret_items(service)}},
        ],
    }
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": str(service.port)}
    # Signing keys are on one volume, so that two auth pods must not overlap.
    strategy = {"type": "Recreate"} if service.keeps_keys else {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return _object(
        "apps/v1",
        "Deployment",
        service.name,
        {
            "replicas": service.replicas,
            "strategy": strategy,
            "selector": {"matchLabels": _labels(service.name)},
            "template": {"metadata": {"labels": _labels(service.name), "annotations": annotations}, "spec": spec},
        },
    )


def _prepare() -> dict[str, Any]:
    """Databases, schema, roles and the first admin, before anything serves."""
    names = (
        "database_admin_url",
        "database_url",
        "dagster_database_url",
        "auth_database_url",
        "services_database_url",
        "console_database_url",
        "reader_database_url",
        "mlflow_database_url",
        "admin_password",
    )
    environment = [
        {"name": f"ACCIDENT_RECO_{name.upper()}_FILE", "value": f"/run/secrets/platform/{name}"} for name in names
    ]
    container = {
        "name": "prepare",
        "image": IMAGE.replace("serving", "platform"),
        "command": ["python", "-m", "accident_reco.cli", "prepare"],
        "env": environment,
        "securityContext": LOCKED_DOWN,
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": VOLUME_MOUNTS,
    }
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": "serving",
        "automountServiceAccountToken": False,
        "securityContext": {"fsGroup": 10001},
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "auth-keys"}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "secrets", "secret": {"secretName": "platform"}},
        ],
    }
    return _object(
        "batch/v1",
        "Job",
        "prepare",
        {
            "backoffLimit": 6,
            "ttlSecondsAfterFinished": 86400,
            "template": {"metadata": {"labels": _labels("prepare")}, "spec": pod},
        },
    )


def _service(service: Service) -> dict[str, Any]:
    ports = [{"name": "http", "port": service.port, "targetPort": "http"}]
    return _object("v1", "Service", service.name, {"selector": _labels(service.name), "ports": ports})


def _autoscaler(service: Service) -> dict[str, Any]:
    target = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
    }
    return _object(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        service.name,
        {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": service.name},
            "minReplicas": service.replicas,
            "maxReplicas": service.max_replicas,
            "metrics": [target],
        },
    )


def _budget(service: Service) -> dict[str, Any]:
    selector = {"selector": {"matchLabels": _labels(service.name)}}
    return _object("policy/v1", "PodDisruptionBudget", service.name, {"maxUnavailable": 1} | selector)


def _policy(name: str, selected: dict[str, str], served: Sequence[int], called: Sequence[int]) -> dict[str, Any]:
    """Ingress from the cluster to the ports `served`; egress to DNS and to the ports `called`."""
    dns = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    into = [{"port": port, "protocol": "TCP"} for port in served]
    return _object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        {
            "podSelector": {"matchLabels": selected},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"namespaceSelector": {}}], "ports": into}] if into else [],
            "egress": [dns, *({"ports": [{"port": port, "protocol": "TCP"}]} for port in called)],
        },
    )


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write every object in full, without anchors."""
        return True


def rendered() -> str:
    """Text of services.yaml."""
    head = "# Generated by make_manifests.py. The secret `platform` has the files of deploy/compose/make-secrets.sh.\n"
    return head + yaml.dump_all(documents(), Dumper=_Plain, sort_keys=False, width=120)


if __name__ == "__main__":
    (HERE / "services.yaml").write_text(rendered(), encoding="utf-8")
