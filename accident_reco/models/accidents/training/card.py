"""The model card of a version: deterministic Markdown, part of the bundle, without times and run ids.

The version id covers the card, so that a change of its wording changes the ids of versions trained afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accident_reco.models.accidents.training.evaluation import HoldoutReport, SliceResult
from accident_reco.models.accidents.training.metrics import count_confusion

TEMPLATE = """# Accident severity model

Probability that a road user of an injury accident is **killed or hospitalised** for more than 24 hours ("severe"
below), from the information available {when}. Data source: **{data_source}**{warning}.

| | |
|---|---|
{facts}

## Holdout

Real road users of accidents that no version trains on: {rows:,} road users, {prevalence:.1%} of them severe.

| metric | value |
|---|---|
{metrics}

At the threshold {threshold:.3f} (a false negative costs {miss_cost:g} false positives): {tp:,} true positives,
{fn:,} false negatives, {fp:,} false positives, {tn:,} true negatives. Accuracy {accuracy:.3f}; the majority class alone
reaches {majority:.3f}.

The flag `uncertain` is set where neither class can be excluded at {coverage:.0%} coverage of each class.

## Performance by slice

ROC AUC with a 95 % confidence interval, resampled by accident; mean predicted probability beside the observed share.

| slice | road users | observed | predicted | ROC AUC | interval | AP |
|---|---|---|---|---|---|---|
{slices}

`out of time` is a small model trained on the earlier months and evaluated on the newest ones{later}.

## Permutation importance

Loss of ROC AUC when a column is shuffled: {importances}.

## Use and limits

- It ranks road users by risk; it is no diagnosis. Use it to send help first where it is needed most, never to refuse
  help.
- The training data are accidents with at least one injured person that the police recorded in France. Light accidents
  are missing from them more often than severe ones, so probabilities do not hold for collisions in general.
- "Hospitalised" is recorded differently from place to place. Years before 2018 follow another definition and are
  excluded from training. Part of the effect of the location is how the police record, not how severe injuries are.
- Road users who fled have no sex and no year of birth in the files and are never severe there; a request without both
  resembles them. Training rows with simulated missing values keep that resemblance from deciding.
- Errors differ by age, sex and place: compare the slices above before relying on the model for a group.
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
    warning = " (generated demo data, not for real use)" if data_source == "sample" else ""
    text = TEMPLATE.format(
        when="when the call comes in" if feature_set == "call" else "after the scene was recorded",
        data_source=data_source,
        warning=warning,
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        rows=len(label),
        prevalence=metrics["prevalence"],
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
        return " (not measured: too few months or road users)"
    return (
        f": ROC AUC {metrics['roc_auc_out_of_time']:.4f} over all of them; the same model trained on as many road "
        f"users of all months reaches {metrics['roc_auc_in_time']:.4f}"
    )


def _format_slice(row: SliceResult) -> str:
    return (
        f"| {row.dimension}: {row.part} | {row.rows:,} | {row.severe_share:.1%} | {row.mean_probability:.1%} | "
        f"{row.roc_auc:.3f} | {row.low:.3f}-{row.high:.3f} | {row.average_precision:.3f} |"
    )
