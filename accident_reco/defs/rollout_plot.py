"""Plot of a rollout's evidence: the relative difference of the losses with its bounds over the labels."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accident_reco.lifecycle.rollout.state import Rollout


def rollout_plot(state: Rollout) -> str:
    """Markdown image (PNG) of the curve with the permitted margin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot()
    known = [point for point in state.curve if point["low"] is not None and point["high"] is not None]
    labels = [point["labels"] for point in known]
    axes.fill_between(
        labels, [100 * point["low"] for point in known], [100 * point["high"] for point in known], alpha=0.25
    )
    axes.plot(labels, [100 * point["difference"] for point in known])
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.axhline(100 * state.rule["margin"], color="tab:red", linestyle="--", linewidth=0.8)
    axes.set(xlabel="groups of labels", ylabel="loss, challenger vs champion (%)", title=state.challenger)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return f"![evidence](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
