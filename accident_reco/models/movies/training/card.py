"""Writes the model card of a movie version: what it is, what it was measured at, what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.movies.training.choice import Choice

_WORDS = {
    "svd": "matrix factorisation (Surprise SVD)",
    "knn": "item neighbourhoods with baselines (Surprise KNNBaseline)",
    "baseline": "user and movie biases (Surprise BaselineOnly)",
    "als": "matrix factorisation that ranks (implicit ALS), stars from user and movie biases",
}
_SHOWN = ("rmse", "mae", "ndcg_at_10", "recall_at_10", "coverage", "novelty", "cv_rmse", "cv_mae")


def card(bundle: Bundle, choice: Choice, candidates: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown. Depends on nothing but the candidates, so that it does not change a version's identity by itself."""
    trained = bundle.signature["trained_on"]
    source = bundle.lineage.get("data_source", "unknown")
    lines = [
        "# Movie recommendations",
        "",
        f"Kind: {_WORDS[choice.winner]}. Trained on {trained['ratings']:,} ratings by {trained['users']:,} users of "
        f"{trained['movies']:,} movies (catalogue: {trained['catalogue']:,}). Data source: **{source}**"
        + (" (made up: not for real use)." if source == "sample" else "."),
        "",
        f"Chosen by the rule: {choice.reason}.",
        "",
        "## Measured on the frozen holdout",
        "",
        "| candidate | " + " | ".join(_SHOWN) + " |",
        "|---" * (len(_SHOWN) + 1) + "|",
    ]
    for kind, metrics in sorted(candidates.items()):
        values = (f"{metrics[name]:.4f}" if name in metrics else "–" for name in _SHOWN)
        name = f"**{kind}**" if kind == choice.winner else kind
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    lines += [
        "",
        "Ranking: movies with 4 stars or more in the holdout are hits, all movies not rated in training compete.",
        "",
        "## Limits",
        "",
        "- Learnt from people who chose to rate: others' tastes are not in it; unpopular movies are rarely shown.",
        "- Stars and order may disagree: the order is what the list is made for.",
        "- MovieLens data may not be used commercially without permission of the University of Minnesota.",
        "",
    ]
    return "\n".join(lines)
