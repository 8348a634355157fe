"""The model card of a version: deterministic Markdown, part of the bundle, without times and run ids.

Its text is part of the version id: the same inputs give another version when it changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accident_reco.models.accidents.training.evaluation import HoldoutReport, SliceResult
from accident_reco.models.accidents.training.metrics import count_confusion

TEMPLATE = """# Accident severity model

Probability that a road user of an injury accident is **gravely hurt** (killed or hospitalised for more than 24 hours),
from what is known {when}. Data source: **{data_source}**{warning}.

| | |
|---|---|
{facts}

## Holdout

Real people of accidents that no version ever trains on ({people:,} people, {grave:.1%} gravely hurt).

| metric | value |
|---|---|
{metrics}

At the threshold {threshold:.3f} (a missed grave injury costs {miss_cost:g} false alarms): {tp:,} found, {fn:,} missed,
{fp:,} false alarms, {tn:,} rightly let go. Accuracy {accuracy:.3f}; always saying "not grave" gives {majority:.3f}.

The flag `uncertain` is raised where neither class can be excluded at {coverage:.0%} coverage of either class.

## Where it is better and worse

ROC AUC with a 95 % interval by accident; `said` is the mean probability beside the observed share.

| slice | people | grave | said | ROC AUC | interval | AP |
|---|---|---|---|---|---|---|
{slices}

`out of time` is a small model of the months before, judged on the newest ones{later}.

## What it looks at

Loss of ROC AUC when a column is shuffled: {importances}.

## Use and limits

- It ranks and warns; it does not diagnose. Use it to send help first where it is needed most, never to refuse help.
- It learnt from accidents with at least one injured person that police recorded in France. Light accidents are missing
  from those files more often than grave ones, so probabilities do not hold for collisions at large.
- "Hospitalised" is recorded differently from place to place and, before 2018, by another rule: those years are not
  learnt from. Part of what the place tells is how police record, not how people are hurt.
- People who fled have no sex and no birth year in the files and are never gravely hurt there; a request that knows
  neither resembles them. Rows with gaps are learnt too, so that the resemblance does not decide.
- Its errors by age, sex and place are in the table above; compare them before relying on it for a group.
"""


def render_card(
    report: HoldoutReport,
    label: Sequence[int],
    facts: Mapping[str, Any],
    data_source: str,
    feature_set: str,
    miss_cost: float,
    coverage: float,
) -> bytes:
    """`card.md` of a version, UTF-8."""
    metrics = report.metrics
    counts = count_confusion(label, report.probability, metrics["threshold"])
    shown = [name for name in metrics if name not in ("threshold", "holdout_people", "prevalence")]
    top = ", ".join(f"{name} {loss:.4f}" for name, loss in list(report.importances.items())[:12])
    warning = "" if data_source == "official" else ", made up for trying things out" if data_source == "sample" else ""
    text = TEMPLATE.format(
        when="when the call comes in" if feature_set == "call" else "after the scene was recorded",
        data_source=data_source,
        warning=warning,
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        people=len(label),
        grave=metrics["prevalence"],
        metrics="\n".join(f"| {name} | {metrics[name]:.4f} |" for name in shown),
        threshold=metrics["threshold"],
        miss_cost=miss_cost,
        accuracy=metrics["accuracy"],
        majority=metrics["majority_accuracy"],
        coverage=coverage,
        slices="\n".join(_format_slice(row) for row in report.slices),
        later=_format_out_of_time(metrics),
        importances=top or "not measured",
        **counts,
    )
    return text.encode()


def _format_out_of_time(metrics: Mapping[str, float]) -> str:
    if "roc_auc_out_of_time" not in metrics:
        return " (not measured: too few months or people)"
    return (
        f": ROC AUC {metrics['roc_auc_out_of_time']:.4f} over all of them; the same model of as many people of all "
        f"months reaches {metrics['roc_auc_in_time']:.4f}"
    )


def _format_slice(row: SliceResult) -> str:
    return (
        f"| {row.dimension}: {row.part} | {row.rows:,} | {row.severe_share:.1%} | {row.mean_probability:.1%} | "
        f"{row.roc_auc:.3f} | {row.low:.3f}-{row.high:.3f} | {row.average_precision:.3f} |"
    )
