"""Files of compose and Kubernetes: schemas, rules of the project, linters. `test_containers` runs compose."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from accident_reco.launch.home import ALLOCATOR, child_environment, service_environment
from accident_reco.launch.platform import SERVICES as PLATFORM_SERVICES
from accident_reco.launch.stack_config import ALERT_SECRET_PATH, DEPLOY
from accident_reco.settings import Settings, unknown_settings
from accident_reco_tests.support.images import our_image
from accident_reco_tests.support.kubernetes_files import (
    HELM,
    HELM_WITH_DVC,
    build_run_job,
    helm_values,
    manifests,
    require_restricted,
)

pytestmark = pytest.mark.e2e
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "compose" / "Dockerfile").read_text()


def test_compose_is_valid() -> None:
    """The official compose specification accepts the file."""
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    # This edition of the schema has no project name yet.
    document = {part: content for part, content in COMPOSE.items() if part != "name"}
    jsonschema.Draft7Validator(schema).validate(document)


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_pinned_restricted_and_checked(name: str) -> None:
    """A pinned tag, a read-only root, no capabilities, a health check, ports on loopback only."""
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+", service["image"]), "pinned, never latest"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("healthcheck") or service["image"].startswith("accident-reco/serving"), "or the image's own"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for secret in service.get("secrets", []):
        assert secret in COMPOSE["secrets"]
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert source.startswith(("/", "..")) or source in COMPOSE["volumes"]
    for other in service.get("depends_on", {}):
        assert other in SERVICES


def test_variables_are_settings_and_secrets_are_files() -> None:
    """Variables in compose are settings of the platform; secrets come from files of the script."""
    for name, service in SERVICES.items():
        environment = service.get("environment", {})
        ours = {key: value for key, value in environment.items() if key.startswith("ACCIDENT_RECO_")}
        assert unknown_settings(ours) == {}, name
        for key, value in environment.items():
            if str(value).startswith("/run/secrets/"):
                assert Path(value).name in service["secrets"], f"{name}: {key}"
            assert not re.search(r"password|secret", key, re.IGNORECASE) or str(value).startswith("/run/secrets/"), key


def test_script_generates_every_secret_once(tmp_path: Path) -> None:
    """Random, private, unchanged by a second run, complete for every service."""
    script = tmp_path / "make-secrets.sh"
    script.write_text((DEPLOY / "compose" / "make-secrets.sh").read_text())
    subprocess.run(["sh", str(script)], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} <= set(made)
    assert made["services_database_url"].startswith("postgresql+psycopg2://platform_services:")
    assert made["services_password"] in made["services_database_url"]
    assert json.loads(made["s3_identities"])["identities"][0]["credentials"][0]["accessKey"] in made["s3_credentials"]
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert (tmp_path / "settings.env").read_text().startswith("#")
    (tmp_path / "settings.env").write_text("ACCIDENT_RECO_SEED=3\n")
    subprocess.run(["sh", str(script)], check=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made
    assert (tmp_path / "settings.env").read_text() == "ACCIDENT_RECO_SEED=3\n"
    assert f"/run/secrets/{Path(COMPOSE['secrets']['alert_secret']['file']).name}" == ALERT_SECRET_PATH


def test_dockerfile_follows_its_rules() -> None:
    """Pinned bases, no root, no recommended packages, no caches, health checks."""
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?", DOCKERFILE, re.MULTILINE)
    named = {name for _, name in stages}
    for image, _ in stages:
        assert image in named or re.search(r":\d+\.\d+\.\d+", image), image
    assert {"platform", "serving"} <= named
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)[-1] == "10001"
    assert "--no-install-recommends" in DOCKERFILE
    assert "rm -rf /var/lib/apt/lists/*" in DOCKERFILE
    assert not re.search(r"^(ADD|MAINTAINER) |sudo|curl ", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.count("HEALTHCHECK") >= 2
    synced = re.findall(r"uv pip sync .*", DOCKERFILE)
    assert len(synced) == 2
    assert all(re.search(r"requirements(-dvc)?\.lock", line) for line in synced), "hashes of a lock file are checked"
    root = DEPLOY.parent
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((root / source).exists() for source in copied.split()), copied


def test_ignored_files_of_deploy_are_not_in_the_build_context() -> None:
    """Secrets and an installation's own settings are in no layer and no cache."""
    root = DEPLOY.parent
    own = {line.strip("/") for line in (root / ".gitignore").read_text().splitlines() if line.startswith("/deploy/")}
    assert own
    assert own <= set((root / ".dockerignore").read_text().split())


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    """The Dockerfile linter finds nothing here, and something in a careless file."""
    hadolint = str(Path(sys.executable).parent / "hadolint")
    done = subprocess.run(
        [hadolint, str(DEPLOY / "compose" / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    careless = tmp_path / "Dockerfile"
    careless.write_text("FROM debian:latest\nRUN cd /srv && apt-get install curl\n")
    done = subprocess.run([hadolint, str(careless)], capture_output=True, text=True, check=False)
    assert {"DL3007", "DL3003"} <= set(re.findall(r"DL\d+", done.stdout))


def test_manifests_are_generated() -> None:
    """The YAML agrees with the code."""
    sys.path.insert(0, str(DEPLOY / "kubernetes"))
    try:
        from make_manifests import rendered  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    assert rendered() == (DEPLOY / "kubernetes" / "services.yaml").read_text()


@pytest.mark.parametrize("document", manifests(), ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_kubernetes_accepts_every_object(document: dict[str, Any]) -> None:
    """Validated strictly against the API server's own schemas, offline."""
    kubernetes_validate.validate(document, "1.33", strict=True)


def test_every_service_has_probes_limits_and_a_network_policy() -> None:
    """Probes, limits, autoscaling, disruption budget, network policy; variables are settings."""
    kinds = {(doc["kind"], doc["metadata"]["name"]) for doc in manifests()}
    for document in manifests():
        if document["kind"] != "Deployment":
            continue
        name = document["metadata"]["name"]
        assert {
            (kind, name) for kind in ("Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy")
        } <= kinds
        (container,) = document["spec"]["template"]["spec"]["containers"]
        assert {"startupProbe", "livenessProbe", "readinessProbe", "resources", "securityContext"} <= set(container)
        ours = {entry["name"]: entry["value"] for entry in container["env"] if entry["name"].startswith("ACCIDENT_")}
        assert unknown_settings(ours) == {}


PODS = [document for document in manifests() if document["kind"] in ("Deployment", "Job")]
RUNS = [build_run_job(helm_values(*names)) for names in (HELM, HELM_WITH_DVC)]


@pytest.mark.parametrize("document", [*PODS, *RUNS], ids=lambda d: d["metadata"]["name"])
def test_every_pod_satisfies_its_namespace_and_reaches_its_database(document: dict[str, Any]) -> None:
    """Pod Security "restricted", which the namespace enforces; and a network policy that allows the database."""
    kubernetes_validate.validate(document, "1.33", strict=True)
    pod = document["spec"]["template"]
    containers = [container["securityContext"] for container in pod["spec"]["containers"]]
    require_restricted(pod["spec"].get("securityContext", {}), *containers)
    for volume in pod["spec"]["volumes"]:
        assert set(volume) & {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}, volume
    labels = pod["metadata"]["labels"].items()
    policies = [found["spec"] for found in manifests() if found["kind"] == "NetworkPolicy"]
    own = [spec for spec in policies if (spec["podSelector"].get("matchLabels") or {}).items() <= labels]
    open_ports = {port["port"] for spec in own for rule in spec.get("egress", []) for port in rule["ports"]}
    assert {53, 5432} <= open_ports


def test_images_have_the_launchers_variables() -> None:
    """Steps in containers and pods share their cores as on one machine."""
    variables = child_environment(Settings.load(), {}).items()
    fixed = {f"{name}={value}" for name, value in variables if not re.search("HOME|URL|URI", name)}
    assert {"OMP_WAIT_POLICY=PASSIVE", "GOMP_SPINCOUNT=400"} <= fixed
    assert fixed <= set(DOCKERFILE.split())


@pytest.mark.parametrize("name", PLATFORM_SERVICES)
def test_services_have_the_same_allocator_everywhere(name: str) -> None:
    """The launcher states its limits, the serving image repeats them, and compose and pods run that image without
    others; an operator's own are kept, and training keeps glibc's."""
    stated = service_environment(Settings.load(), name, {})
    assert ALLOCATOR.items() <= stated.items()
    own = dict.fromkeys(ALLOCATOR, "1048576")
    assert own.items() <= service_environment(Settings.load(), name, own).items()
    built = {name: Path(name) for name in ("/opt/venv", "/opt/dvc", "/app/package")}
    serving, platform = (our_image(target, built).environment for target in ("serving", "platform"))
    assert {key: value for key, value in serving.items() if key.startswith("MALLOC_")} == ALLOCATOR
    assert not any(key.startswith("MALLOC_") for key in platform)
    (container,) = [
        container
        for document in manifests()
        if document["kind"] == "Deployment" and document["metadata"]["name"] == name
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    in_pod = {entry["name"] for entry in container["env"]}
    for image, variables in ((SERVICES[name]["image"], SERVICES[name]["environment"]), (container["image"], in_pod)):
        assert image.startswith("accident-reco/serving:")
        assert not any(key.startswith("MALLOC_") for key in variables)
