"""Plots of an evaluation and of a search as PNG bytes, for asset pages and MLflow. Headless: no pyplot, no display."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.training.metrics import compute_calibration_bins, count_confusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from accident_reco.models.accidents.training.evaluation import HoldoutReport

INK, LINE, SOFT = "#26425f", "#4a78a8", "#c9d6e3"
# Points of a plotted curve; more are not visible.
MAX_CURVE_POINTS = 400


def plot_evaluation(label: NDArray[np.int8], result: HoldoutReport) -> dict[str, bytes]:
    """File name → PNG: ROC and precision-recall curves, calibration, confusion matrix, slices, importances.

    Calibration is drawn overall and by slice.
    """
    pictures = {
        "curves.png": _plot_curves(label, result.probability),
        "calibration.png": _plot_calibration(label, result.probability),
        "confusion.png": _plot_confusion(label, result),
        "slices.png": _plot_slices(result),
        "reliability.png": _plot_reliability(result),
    }
    if result.importances:
        pictures["importances.png"] = _plot_bars(result.importances, "Loss of ROC AUC when shuffled")
    return pictures


def embed_markdown(picture: bytes, alt: str) -> str:
    """Markdown with the picture inline, as Dagster's pages show it."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(picture).decode()})"


def _create_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=80, layout="constrained")


def _to_png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _plot_curves(label: NDArray[np.int8], p: NDArray[np.float64]) -> bytes:
    order = np.argsort(-p, kind="stable")
    hits, misses = np.cumsum(label[order]), np.cumsum(1 - label[order])
    pick = np.unique(np.linspace(0, len(p) - 1, MAX_CURVE_POINTS).astype(int))
    recall, fall_out = hits / max(hits[-1], 1), misses / max(misses[-1], 1)
    precision = hits / np.arange(1, len(p) + 1)
    figure = _create_figure(8, 3.6)
    roc, pr = figure.subplots(1, 2)
    roc.plot(fall_out[pick], recall[pick], color=INK)
    roc.plot([0, 1], [0, 1], color=SOFT, linestyle="--")
    roc.set(title="ROC", xlabel="false alarms", ylabel="recall")
    pr.plot(recall[pick], precision[pick], color=INK)
    pr.axhline(float(label.mean()), color=SOFT, linestyle="--")
    pr.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    return _to_png(figure)


def _plot_calibration(label: NDArray[np.int8], p: NDArray[np.float64]) -> bytes:
    mean, rate, _ = compute_calibration_bins(label, p)
    figure = _create_figure(4.2, 3.8)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle="--")
    axes.plot(mean, rate, "o-", color=INK)
    axes.set(title="Calibration (equally filled bins)", xlabel="mean probability", ylabel="observed share")
    return _to_png(figure)


def _plot_confusion(label: NDArray[np.int8], result: HoldoutReport) -> bytes:
    counts = count_confusion(label, result.probability, result.metrics["threshold"])
    table = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
    figure = _create_figure(4.2, 3.6)
    axes = figure.subplots()
    axes.imshow(table, cmap="Blues")
    for row in range(2):
        for column in range(2):
            share = table[row, column] / max(table.sum(), 1)
            dark = table[row, column] > table.max() / 2
            axes.text(
                column,
                row,
                f"{table[row, column]:,}\n{share:.1%}",
                ha="center",
                va="center",
                color="white" if dark else INK,
            )
    axes.set(
        xticks=[0, 1],
        yticks=[0, 1],
        xticklabels=["predicted light", "predicted severe"],
        yticklabels=["light", "severe"],
        title=f"At the threshold {result.metrics['threshold']:.3f}",
    )
    return _to_png(figure)


def _plot_slices(result: HoldoutReport) -> bytes:
    rows = [row for row in result.slices if row.dimension != "month"][::-1]
    figure = _create_figure(7, max(2.0, 0.19 * len(rows) + 0.8))
    axes = figure.subplots()
    values = np.array([row.roc_auc for row in rows])
    spread = np.abs(np.array([[row.low, row.high] for row in rows]).reshape(-1, 2).T - values)
    axes.errorbar(values, np.arange(len(rows)), xerr=spread, fmt="o", color=INK, ecolor=LINE, markersize=3)
    axes.axvline(result.metrics["roc_auc"], color=SOFT, linestyle="--")
    axes.set_yticks(np.arange(len(rows)), [f"{row.dimension}: {row.part} ({row.rows:,})" for row in rows], fontsize=7)
    axes.set_title("ROC AUC by slice, 95 % interval")
    return _to_png(figure)


def _plot_reliability(result: HoldoutReport, columns: int = 5) -> bytes:
    """Reliability curves by slice on one page, each with its expected calibration error."""
    curves = result.reliability
    lines = -(-len(curves) // columns)
    figure = _create_figure(2.3 * columns, 2.3 * lines)
    for axes, curve in zip(figure.subplots(lines, columns, squeeze=False).flat, curves, strict=False):
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle="--")
        axes.plot(curve.mean, curve.rate, "o-", color=INK, markersize=3)
        axes.set_title(f"{curve.name}\n{int(curve.rows.sum()):,}, ECE {curve.error:.3f}", fontsize=8)
        axes.tick_params(labelsize=6)
    for axes in figure.axes[len(curves) :]:
        axes.set_axis_off()
    return _to_png(figure)


def _plot_bars(values: Mapping[str, Any], title: str, max_bars: int = 25) -> bytes:
    names = list(values)[:max_bars][::-1]
    figure = _create_figure(6, max(2.0, 0.2 * len(names) + 0.8))
    axes = figure.subplots()
    axes.barh(names, [float(values[name]) for name in names], color=LINE)
    axes.tick_params(labelsize=7)
    axes.set_title(title)
    return _to_png(figure)


def plot_trials(search: Mapping[str, Any], name: str) -> bytes:
    """PNG of all trials of a search: mean ROC AUC by number of evaluated folds, the previous parameters highlighted."""
    trials = search["trials"]
    folds = np.array([len(trial["roc_auc"]) for trial in trials])
    value = np.array([np.mean(trial["roc_auc"]) for trial in trials])
    spread = np.linspace(-0.15, 0.15, len(trials)) if len(trials) > 1 else np.zeros(1)
    figure = _create_figure(5, 3.4)
    axes = figure.subplots()
    axes.scatter(folds + spread, value, color=LINE, s=16, label="drawn")
    axes.scatter(folds[:1] + spread[:1], value[:1], color="#c0392b", s=30, marker="D", label="previous parameters")
    axes.set(title=f"Search of the {name}", xlabel="evaluated folds", ylabel="mean ROC AUC")
    axes.set_xticks(range(1, int(folds.max()) + 1))
    axes.legend(fontsize=8)
    return _to_png(figure)


def format_trials(search: Mapping[str, Any]) -> str:
    """The trials as a Markdown table, by number of folds and mean ROC AUC, descending."""
    names = list(search["chosen"])
    ordered = sorted(search["trials"], key=lambda trial: (-len(trial["roc_auc"]), -float(np.mean(trial["roc_auc"]))))
    rows = []
    for trial in ordered:
        values = " | ".join(f"{trial['parameters'][name]:g}" for name in names)
        rows.append(f"| {values} | {len(trial['roc_auc'])} | {np.mean(trial['roc_auc']):.5f} |")
    return "\n".join([f"| {' | '.join(names)} | folds | ROC AUC |", "|---" * (len(names) + 2) + "|", *rows])
