"""Origin of a version: the field `lineage` of a manifest."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]


def lineage(
    *,
    data_source: str,
    sources: Iterable[Mapping[str, str]],
    dagster_run_id: str,
    mlflow_run_id: str | None,
    git_commit: str = "",
    **more: Any,
) -> dict[str, Any]:
    """Lineage of a candidate.

    Args:
        data_source: `sample`, `official` or `directory`.
        sources: of each raw file at least `name` and `sha256`.
        git_commit: commit as configured; empty: that of this checkout.
    """
    return {
        "data_source": data_source,
        "sources": [dict(source) for source in sources],
        "dagster_run_id": dagster_run_id,
        "mlflow_run_id": mlflow_run_id,
        "git_commit": git_commit or checkout_commit(),
        **more,
    }


def checkout_commit() -> str | None:
    """Commit of this checkout, with `+changes` where files differ from it; None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != PROJECT:
            return None  # an installed package, perhaps below another repository
        commit = git("rev-parse", "HEAD")
        return f"{commit}+changes" if git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None
