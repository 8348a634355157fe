"""The HTML report: verdict and table on top, Evidently's charts below, one file that loads nothing from the network.

Evidently and pandas are imported when a report is rendered. The charts are of bounded samples: rows of the window, and
values from the reference profile, which holds no rows. The verdict is on all rows.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from accident_reco.drift.check import DriftReport
from accident_reco.drift.verdict import FeatureVerdict
from accident_reco.drift.window import Window
from accident_reco.lifecycle.reference import CategoricalColumn, Column, NumericColumn, ReferenceProfile

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 10_000_000
COLOURS = {"stable": "green", "warning": "amber", "drift": "red", "insufficient_data": "grey"}
HEADLINES = {
    "stable": "No drift",
    "warning": "Changes below the threshold",
    "drift": "Drift",
    "insufficient_data": "Insufficient data: no verdict",
}
_SCRIPT = re.compile(rb"<script[^>]*>(.*?)</script>", re.DOTALL)
# Not allowed in a chart: texts come from clients, and the charts' data is written into a script.
_UNSAFE = re.compile(r"[^0-9A-Za-zÀ-ÖØ-öø-ÿ .,:_+-]")
_SHOWN_CHARACTERS = 40
_SHOWN_CATEGORIES = 30

_STYLE = """
.verdict{font:16px/1.5 system-ui,sans-serif;margin:0;padding:20px 28px;color:#fff}
.verdict h1{font-size:26px;margin:0 0 4px}.verdict p{margin:2px 0}
.verdict.green{background:#1a7f37}.verdict.red{background:#b42318}.verdict.amber{background:#8a5a00}
.verdict.grey{background:#57606a}
.features{font:14px/1.4 system-ui,sans-serif;padding:16px 28px;color:#1f2328;background:#fff;overflow-x:auto}
.features table{border-collapse:collapse;width:100%}
.features th,.features td{text-align:left;padding:4px 10px;border-bottom:1px solid #d0d7de}
.features td.n{text-align:right;font-variant-numeric:tabular-nums}
.features tr.drifted td:first-child{border-left:4px solid #b42318}
"""


def render_html_report(report: DriftReport, reference: ReferenceProfile, window: Window, sample_rows: int) -> bytes:
    """The report as UTF-8 HTML. Raises ValueError where it is larger than `MAX_BYTES`."""
    top = _verdict_html(report)
    chartable = [name for name in reference.columns if name in window.columns]
    rows = min(sample_rows, window.rows)
    if chartable and rows >= 2:
        page = _charts(report, reference, window, chartable, sample_rows)
        head, body, rest = page.partition("<body>")
        page = f"{head}<style>{_STYLE}</style>{body}{top}{rest}"
    else:
        page = (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="UTF-8"><title>Drift</title>'
            f"<style>{_STYLE}</style></head><body>{top}</body></html>"
        )
    content = page.encode()
    if len(content) > MAX_BYTES:
        raise ValueError(f"the HTML report has {len(content)} bytes, at most {MAX_BYTES} are allowed")
    return content


def content_security_policy(page: bytes) -> str:
    """Content-Security-Policy of a report: its scripts by hash, no network."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in _SCRIPT.findall(page)
    )
    return (
        f"default-src 'none'; script-src {hashes or chr(39) + 'none' + chr(39)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; connect-src 'none'; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
    )


def sample_values(column: Column, rows: int) -> np.ndarray:
    """Values with the distribution of a profile's column, shape (rows,): quantiles, or categories by their counts."""
    known = column.count - column.missing
    if known == 0:
        return np.full(rows, np.nan)
    places = (np.arange(rows) + 0.5) / rows * known
    if isinstance(column, NumericColumn):
        return column.grid[np.minimum(np.searchsorted(column.at_or_below, places), len(column.grid) - 1)]
    labels = np.array([*map(str, column.values), "other"], dtype=object)
    ends = np.cumsum(np.append(column.counts, column.other))
    return labels[np.minimum(np.searchsorted(ends, places, side="right"), len(labels) - 1)]


def _charts(
    report: DriftReport, reference: ReferenceProfile, window: Window, names: list[str], sample_rows: int
) -> str:
    """Evidently's HTML report."""
    with warnings.catch_warnings():
        # Evidently's warnings (empty bins, deprecated calls of its dependencies) do not concern the platform.
        warnings.simplefilter("ignore")
        import pandas as pd
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        current = window.first(sample_rows)
        kinds = {name: reference.columns[name].kind for name in names}
        before = pd.DataFrame(
            {
                name: _chart_values(reference.columns[name], sample_values(reference.columns[name], sample_rows))
                for name in names
            }
        )
        now = pd.DataFrame({name: _chart_values(reference.columns[name], current[name]) for name in names})
        drawable = [name for name in names if before[name].notna().any() and now[name].notna().any()]
        definition = DataDefinition(
            numerical_columns=[name for name in drawable if kinds[name] == "numeric"],
            categorical_columns=[name for name in drawable if kinds[name] == "categorical"],
        )
        limits = report.verdict.thresholds
        snapshot = Report([DataDriftPreset(drift_share=limits.share, num_method="ks", cat_method="chisquare")]).run(
            current_data=Dataset.from_pandas(now[drawable], data_definition=definition),
            reference_data=Dataset.from_pandas(before[drawable], data_definition=definition),
        )
        return str(snapshot.get_html_str(as_iframe=False))


def _chart_values(column: Column, values: np.ndarray) -> pd.Series[Any]:
    """A series for Evidently: numbers, or a limited number of category names without markup."""
    import pandas as pd

    if isinstance(column, NumericColumn):
        return pd.Series(np.asarray(values, dtype=np.float64))
    names = pd.Series([_category_name(value) for value in values.tolist()], dtype=object)
    return names.where(names.isin(_shown_categories(column)) | names.isna(), "other")


def _shown_categories(column: CategoricalColumn) -> list[str]:
    most = np.argsort(-column.counts, kind="stable")[:_SHOWN_CATEGORIES]
    return [str(_category_name(column.values[place])) for place in most]


def _category_name(value: Any) -> str | None:
    if value is None or value != value or value == -1:
        return None
    return _UNSAFE.sub("·", str(value))[:_SHOWN_CHARACTERS]


def _verdict_html(report: DriftReport) -> str:
    verdict, row = report.verdict, report.row
    when = row["computed_at"].strftime("%Y-%m-%d %H:%M:%S UTC")
    groups = "" if verdict.groups is None else f" of {verdict.groups:,} groups"
    lines = [
        f"<strong>{_text(verdict.reason)}</strong>",
        f"{_text(row['model'])} {_text(row['version'])}, trained on {_text(row['data_source'])} data",
        f"Window {_text(row['window_name'])}: {verdict.rows:,} rows{groups}; checked {when}",
        f"Live performance: {_text(report.performance.reason)}",
    ]
    if row["document"]["note"]:
        lines.append(f"Compared {_text(row['document']['note'])}")
    if report.previous is not None:
        lines.append(f"Against the window before: {_text(report.previous.reason)}")
    lines.append(
        "The verdict is on all rows of the window, by effect size and significance, for dependent rows of a group. "
        "Evidently's charts below are of bounded samples, and its tests use p-values alone."
    )
    paragraphs = "".join(f"<p>{line}</p>" for line in lines)
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "feature",
            "test",
            "distance",
            "PSI",
            "adjusted p",
            "importance",
            "missing before → now",
            "change",
            "verdict",
        )
    )
    features = [*verdict.features, *(extra for extra in (verdict.prediction, verdict.label) if extra is not None)]
    table = "".join(_feature_html(feature) for feature in sorted(features, key=_by_distance))
    return (
        f'<section class="verdict {COLOURS[verdict.status]}"><h1>{HEADLINES[verdict.status]}</h1>{paragraphs}</section>'
        f'<section class="features"><table><thead><tr>{head}</tr></thead><tbody>{table}</tbody></table></section>'
    )


def _feature_html(feature: FeatureVerdict) -> str:
    comparison = feature.comparison
    verdict = {True: "drifted", False: "no drift", None: "not evaluated"}[feature.drifted]
    shown = ((comparison.distance, ".3f"), (comparison.psi, ".3f"), (feature.p_adjusted, ".2g"))
    numbers = [*("–" if np.isnan(value) else format(value, style) for value, style in shown)]
    numbers.append("–" if feature.importance is None else f"{feature.importance:.1%}")
    return (
        f'<tr class="{"drifted" if feature.drifted else "same"}"><td>{_text(comparison.name)}</td>'
        f"<td>{comparison.test}</td>"
        + "".join(f'<td class="n">{number}</td>' for number in numbers)
        + f'<td class="n">{comparison.missing_reference:.1%} → {comparison.missing_current:.1%}</td>'
        f"<td>{_text(comparison.change)}</td><td>{verdict}</td></tr>"
    )


def _by_distance(feature: FeatureVerdict) -> tuple[bool, float]:
    distance = feature.comparison.distance
    return (not feature.drifted, -distance if distance == distance else 0.0)


def _text(value: object) -> str:
    return html.escape(str(value))
