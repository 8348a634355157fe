"""Writes the model card of a movie version: its kind, its metrics, its limits."""

from __future__ import annotations

from collections.abc import Mapping

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.training.choice import Choice

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
        f"(catalogue: {trained['catalogue']:,}). Data source: **{source}**"
        + (" (generated demo data, not for real use)." if source == "sample" else "."),
        "",
        f"Selection: {choice.reason}.",
        "",
        "## Evaluation on the frozen holdout",
        "",
        "| candidate | " + " | ".join(_SHOWN) + " |",
        "|---" * (len(_SHOWN) + 1) + "|",
    ]
    for kind, metrics in sorted(candidates.items()):
        values = (f"{metrics[name]:.4f}" if name in metrics else "–" for name in _SHOWN)
        roles = [role for role, head in (("order", choice.ranking), ("stars", choice.stars)) if head == kind]
        name = f"**{kind}** ({', '.join(roles)})" if roles else kind
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    lines += [
        "",
        "Ranking: holdout movies with 4 stars or more are relevant; all movies not rated in training are ranked.",
        "",
        "## Limits",
        "",
        "- Trained on users who chose to rate: it does not represent others, and rarely recommends unpopular movies.",
        "- Predicted ratings and ranking may disagree: the order of the list is what is optimised.",
        "- Explanations and similar movies follow the order; live performance and drift of errors follow the stars.",
        "- MovieLens data may not be used commercially without permission of the University of Minnesota.",
        "",
    ]
    return "\n".join(lines)
