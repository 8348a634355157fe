"""Private names of Dagster, Celery and kombu are used in two modules only, each with its reason beside it."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from accident_reco_tests.support.running import ROOT

PRIVATE = re.compile(r"(?:dagster|celery|kombu)\w*(?:\.\w+)*\._(?!_)|dagster_shared|dagster_[a-z0-9]+\.\w+\.")
"""A private module or name; `dagster_shared`; a module of an integration, which exports its public names at the top."""
USED = {
    "accident_reco/defs/dagster_internals.py": {
        "dagster._core.errors.DagsterUserCodeUnreachableError",
        "dagster._core.definitions.instigation_logger.DispatchingLogHandler",
        "dagster._core.execution.retries.RetryMode",
        "dagster._core.launcher.CheckRunHealthResult",
        "dagster._core.launcher.WorkerStatus",
        "dagster._core.storage.sqlite_storage",
        "dagster._core.storage.tags.GRPC_INFO_TAG",
        "dagster._core.storage.tags.WILL_RETRY_TAG",
        "dagster._core.workspace.context.WorkspaceProcessContext",
        "dagster._core.workspace.load_target.WorkspaceFileTarget",
        "dagster._grpc.client.DagsterGrpcClient",
        "dagster._grpc.types.CanCancelExecutionRequest",
        "dagster._grpc.types.CanCancelExecutionResult",
        "dagster._grpc.types.ExecuteStepArgs",
        "dagster._serdes.deserialize_value",
        "dagster._serdes.unpack_value",
        "dagster._utils.schedules.get_smallest_cron_interval",
        "dagster._utils.test",
        "dagster_graphql.schema.create_schema",
    },
    "accident_reco/defs/celery_internals.py": {
        "dagster_celery.core_execution_loop.core_celery_execution_loop",
        "dagster_celery.defaults.broker_transport_options",
        "dagster_celery.executor.CeleryExecutor",
        "dagster_celery.executor._submit_task",
        "dagster_celery.make_app.make_app",
        "dagster_celery.tasks.create_task",
        "qos._delivered",
    },
    # How a code server records the process of a run.
    "accident_reco_tests/integration/defs/test_run_workers.py": {"dagster._core.events.EngineEventData"},
    # dagster-k8s exports the job of a run, not the class that reads the chart's values.
    "accident_reco_tests/support/kubernetes_files.py": {"dagster_k8s.container_context.K8sContainerContext"},
}


def _sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return [ROOT / name for name in listed if ROOT / name != Path(__file__) and (ROOT / name).exists()]


def _private_names(source: str) -> Iterator[str]:
    """Imported names, attributes and string constants that match `PRIVATE`, and kombu's messages in flight."""
    for node in ast.walk(ast.parse(source)):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [f"{alias.name}.*" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            found = [ast.unparse(node)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            found = [node.value]
        yield from (name for name in found if PRIVATE.match(name) or name.startswith("qos._"))


def test_private_names_are_in_their_two_modules() -> None:
    """Another private name anywhere fails here: an upgrade of Dagster may remove it without notice."""
    used = {
        str(path.relative_to(ROOT)): names
        for path in _sources()
        if (names := set(_private_names(path.read_text(encoding="utf-8"))))
    }
    assert used == USED


@pytest.mark.parametrize(
    "source",
    [
        "import dagster._core.events",
        "from dagster._core.events import DagsterEvent",
        "from dagster import _check",
        "import dagster\ndagster._core.events",
        "preloaded = ['dagster._utils.test']",
        "from dagster_shared.serdes import pack",
        "from dagster_celery.tasks import create_task",
        "import dagster_celery.tasks",
        "from kombu.transport.redis import _after_fork_cleanup_resources",
    ],
)
def test_every_spelling_is_found(source: str) -> None:
    """Imports, attributes and strings of preload lists."""
    assert list(_private_names(source))
