"""Writes the model card of a movie version: its kind, its metrics, its limits."""

from __future__ import annotations

from collections.abc import Mapping

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.candidates.heads import STARS_ROWS
from accident_reco.models.movies.data.split import FOLDS, MAX_FOLDED
from accident_reco.models.movies.training.audience import POPULARITY, SLICES
from accident_reco.models.movies.training.choice import Choice
from accident_reco.models.movies.training.samples import describe_samples

_SHOWN = ("rmse", "mae", "ndcg_at_10", "recall_at_10", "coverage", "novelty", "cv_rmse", "cv_mae")


def write_card(bundle: Bundle, choice: Choice, candidates: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown. The version id covers the card, so that a change of its wording changes the ids of later versions."""
    trained = bundle.signature["trained_on"]
    source = bundle.lineage.get("data_source", "unknown")
    lines = [
        "# Movie recommendations",
        "",
        f"Order of the list: {CANDIDATES[choice.ranking].algorithm}. "
        f"Predicted stars: {CANDIDATES[choice.stars].algorithm}. "
        f"Trained on {trained['ratings']:,} ratings by {trained['users']:,} users of {trained['movies']:,} movies "
        f"(catalogue: {trained['catalogue']:,}).{_describe_stars_rows(bundle)} Data source: **{source}**"
        + (" (generated demo data, not for real use)." if source == "sample" else "."),
        "",
        *(line for sentence in describe_samples(bundle.lineage) for line in (sentence, "")),
        f"Selection: {choice.reason}.",
        "",
        "## Evaluation on the frozen holdout",
        "",
        "| candidate | " + " | ".join(_SHOWN) + " |",
        "|---" * (len(_SHOWN) + 1) + "|",
    ]
    for kind, metrics in sorted(candidates.items()):
        values = (_show(metrics, name) for name in _SHOWN)
        roles = [role for role, head in (("order", choice.ranking), ("stars", choice.stars)) if head == kind]
        name = f"**{kind}** ({', '.join(roles)})" if roles else kind
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    lines += [
        "",
        "Ranking: holdout movies with 4 stars or more are relevant; all movies not rated in training are ranked.",
        "",
        *_describe_folds(candidates),
        *_describe_audience(bundle.metrics),
        "## Limits",
        "",
        "- Trained on users who chose to rate: it does not represent others, and rarely recommends unpopular movies.",
        "- Predicted ratings and ranking may disagree: the order of the list is what is optimised.",
        "- Explanations and similar movies follow the order; live performance and drift of errors follow the stars.",
        "- MovieLens data may not be used commercially without permission of the University of Minnesota.",
        "",
    ]
    return "\n".join(lines)


def _describe_stars_rows(bundle: Bundle) -> str:
    """What the stars were trained on, where that is not what the order was trained on."""
    rows = bundle.signature.get(STARS_ROWS)
    return f" Predicted stars: {rows['ratings']:,} ratings by {rows['users']:,} users." if rows else ""


def _describe_folds(candidates: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A line about a cross-validation of one fold; none where it has all."""
    if any("fold_2_rmse" in metrics for metrics in candidates.values()):
        return []
    return [f"Cross-validated (cv) on one fold of {FOLDS}: there are more than {MAX_FOLDED:,} training ratings.", ""]


def _describe_audience(metrics: Mapping[str, float]) -> list[str]:
    """Lines of the order beside the most rated movies: by history, on the random holdout and on the newest ratings."""
    rows = [(part.name, f"_{part.key}") for part in SLICES]
    lines = [
        "## Beside popularity",
        "",
        "NDCG@10 of this version, and of the most rated movies that the user has not rated: one list for everyone.",
        "What is above popularity is preference. Newest ratings: by the same kinds, untuned, trained on those before.",
        "",
        "| users | number | this version | popularity | newest ratings | popularity |",
        "|---|---|---|---|---|---|",
    ]
    for name, end in [("all", ""), *rows]:
        values = (
            _show(metrics, f"{prefix}{head}ndcg_at_10{end}")
            for prefix in ("", "temporal_")
            for head in ("", POPULARITY)
        )
        number = f"{metrics[f'users{end}']:,.0f}" if f"users{end}" in metrics else "–"
        lines.append(f"| {name} | {number} | " + " | ".join(values) + " |")
    shown = ("recall_at_10", "coverage", "novelty")
    beside = (f"{name} {_show(metrics, name)} ({_show(metrics, POPULARITY + name)})" for name in shown)
    return [*lines, "", f"This version, in brackets popularity: {', '.join(beside)}.", ""]


def _show(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.4f}" if name in metrics else "–"
