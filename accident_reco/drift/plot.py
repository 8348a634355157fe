"""Plot of a verdict: the distance of each feature and the threshold. matplotlib is imported when called."""

from __future__ import annotations

import io

from accident_reco.drift.verdict import Verdict

MAX_BARS = 25


def distance_plot(verdict: Verdict) -> bytes:
    """PNG with a bar per feature, largest distance first; red: drifted, grey: not evaluated."""
    from matplotlib.figure import Figure

    known = [feature for feature in verdict.features if feature.comparison.distance == feature.comparison.distance]
    shown = sorted(known, key=lambda feature: -feature.comparison.distance)[:MAX_BARS]
    figure = Figure(figsize=(7, 0.8 + 0.24 * max(len(shown), 1)), layout="constrained")
    axes = figure.subplots()
    colours = {True: "#b42318", False: "#1a7f37", None: "#8c959f"}
    axes.barh(
        [feature.comparison.name for feature in shown],
        [feature.comparison.distance for feature in shown],
        color=[colours[feature.drifted] for feature in shown],
    )
    axes.axvline(verdict.thresholds.distance, color="black", linewidth=1, linestyle="--")
    axes.invert_yaxis()
    axes.set_xlabel("distance from the reference (KS or total variation); dashed: threshold")
    axes.set_xlim(0, max([verdict.thresholds.distance * 1.5, *(feature.comparison.distance for feature in shown)]))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=80)
    return stream.getvalue()
