"""Links in metadata: pages of the console and of MLflow, and stored objects.

Every address is a setting; where none is stated, it is the default on this machine. Signed links to HTML drift reports
are in `drift.report_links`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import dagster as dg

from accident_reco.settings import Settings

Metadata = dict[str, Any]


def link_version(settings: Settings, model: str, version: str | None) -> Metadata:
    """The console's page of a version; of the model, where there is no version."""
    path = f"/models/{quote(model)}" + (f"/versions/{quote(version)}" if version else "")
    return {"console": dg.MetadataValue.url(settings.console_url + path)}


def link_report(settings: Settings, model: str, report_id: str) -> Metadata:
    """The console's page of a drift report."""
    url = f"{settings.console_url}/drift/{quote(model)}/reports/{quote(report_id)}"
    return {"console": dg.MetadataValue.url(url)}


def link_tracked_run(settings: Settings, run_id: str | None) -> Metadata:
    """MLflow's page of a run; empty where the run is not logged yet."""
    if not run_id:
        return {}
    return {"mlflow": dg.MetadataValue.url(f"{settings.page_urls['mlflow']}/#/runs/{quote(run_id)}")}


def describe_object(settings: Settings, key: str) -> Metadata:
    """URI of a stored object, under the name that Dagster gives it."""
    return {"dagster/uri": f"{settings.store.rstrip('/')}/{key}"}


def show_url(url: str) -> dg.MetadataValue[Any]:
    """A link where a browser can open it, else text."""
    return dg.MetadataValue.url(url) if url.startswith("http") else dg.MetadataValue.text(url)
