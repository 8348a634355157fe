"""The model card of a version: deterministic Markdown, part of the bundle, without times and run ids.

The version id covers the card, so that a change of its wording changes the ids of versions trained afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accident_reco.models.accidents.training.evaluation import HoldoutReport, SliceResult
from accident_reco.models.accidents.training.metrics import count_confusion
from accident_reco.models.accidents.training.slice_reports import ErrorRates, GroupCoverage

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

These figures can be compared with those of another version on **the same holdout rows only**: another year, source or
sample is easier or harder. The gate scores both versions on the same rows; its reason, in the manifest and in the table
of versions, has the difference with its interval.

## Uncertainty

The flag `uncertain` is set where neither class can be excluded at {coverage:.0%} coverage of each class. The bounds
differ by group of road users: region (departments by severity, 1 is the least severe), surroundings, kind of user.

{groups}

Not promised: a coverage for smaller groups than these (a department, an age), for a request with missing fields (the
bounds were set on complete records; where department, surroundings or kind of user are missing they are those of
everybody), for other years than those of the training data, and for a single road user.

## Performance by slice

ROC AUC with a 95 % confidence interval, resampled by accident; mean predicted probability beside the observed share.

| slice | road users | observed | predicted | ROC AUC | interval | AP |
|---|---|---|---|---|---|---|
{slices}

Expected calibration error (10 equally filled bins) of slices of at least 1,000 road users: {calibration}.

`out of time` is a small model trained on the earlier months and evaluated on the newest ones{later}.

## Errors by sex and age

At the threshold: recall (severe road users found) and false alarms (others who are not severe).

{errors}

{odds} Rates differ where the share of severe injuries differs: one threshold for everybody finds more of the severe in
groups that are hurt more often. Equal rates would need a threshold for each group; that is a decision for people.

## Permutation importance

Loss of ROC AUC when a column is shuffled: {importances}.

## Use and limits

- It ranks road users by risk; it is no diagnosis. Use it to send help first where it is needed most, never to refuse
  help.
- **Not for**: insurance, liability, guilt or fines; decisions about single people without a human; the danger of a road
  or a vehicle (the files have no traffic without accidents); predicting whether an accident happens; other countries.
- The training data are accidents with at least one injured person that the police recorded in France. Light accidents
  are missing from them more often than severe ones, so probabilities do not hold for collisions in general.
- "Hospitalised" is recorded differently from place to place. Years before 2018 follow another definition and are
  excluded from training. Part of the effect of the location is how the police record, not how severe injuries are.
- **Unknown age is a trap**: {fled} Road users who fled have neither sex nor year of birth in the files and are recorded
  as unharmed. A caller who does not know the age yet is not such a case; training rows with simulated missing values
  keep that resemblance from deciding, and `?advise=true` states what the year of birth would change.
- An explanation lists missing fields apart from known ones: their effect is that of not knowing, never a cause.
- Errors differ by age, sex and place: compare the tables above before relying on the model for a group.
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
        groups=_format_groups(report.coverage),
        calibration=", ".join(f"{curve.name} {curve.error:.3f}" for curve in report.reliability) or "not measured",
        errors=_format_errors(report.error_rates),
        odds=_format_odds(metrics),
        fled=report.unknown_age,
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


def _format_groups(groups: Sequence[GroupCoverage]) -> str:
    if not groups:
        return "One pair of bounds for everybody."
    rows = [
        f"| {group.name} | {group.rows:,} | {group.severe:,} | {group.coverage:.1%} | "
        f"{_format_share(group.coverage_severe)} | {_format_share(group.coverage_light)} | "
        f"{group.uncertain_share:.1%} |"
        for group in groups
    ]
    head = "| group | road users | severe | coverage | of the severe | of the others | uncertain |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def _format_share(value: float) -> str:
    return "-" if value != value else f"{value:.1%}"


def _format_errors(rates: Sequence[ErrorRates]) -> str:
    rows = [
        f"| {rate.dimension}: {rate.part} | {rate.rows:,} | {rate.severe_share:.1%} | {rate.recall:.3f} | "
        f"{rate.false_alarm_rate:.3f} |"
        for rate in rates
    ]
    return "\n".join(["| slice | road users | severe | recall | false alarms |", "|---|---|---|---|---|", *rows])


def _format_odds(metrics: Mapping[str, float]) -> str:
    found = [
        f"{words} {metrics[name]:.3f}"
        for name, words in (("equalised_odds_sexe", "by sex"), ("equalised_odds_age", "by age"))
        if name in metrics
    ]
    return f"Largest difference of either rate (equalised odds): {', '.join(found) or 'not measured'}."
