"""A version tells where it comes from."""

import re

from accident_reco.lifecycle.lineage import PROJECT, checkout_commit, lineage


def test_lineage_names_the_commit_of_the_checkout() -> None:
    """In a checkout the commit is git's; a deployment's own word wins."""
    if (PROJECT / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?", checkout_commit() or "")
    told = lineage(
        data_source="sample",
        sources=[{"name": "usagers-2024.csv", "sha256": "0" * 64}],
        dagster_run_id="run",
        mlflow_run_id=None,
        git_commit="abc",
        dvc_revision="r1",
    )
    assert told["git_commit"] == "abc"
    assert told["dvc_revision"] == "r1"
    assert told["sources"][0]["name"] == "usagers-2024.csv"
