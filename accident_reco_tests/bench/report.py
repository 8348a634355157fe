"""A run as JSON, as Markdown for the documentation, and as a plot."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from accident_reco_tests.bench.comparison import Result, Row, Run
from accident_reco_tests.bench.comparisons import COMPARISONS

JSON_FILE, TABLE_FILE, PLOT_FILE = "benchmarks.json", "benchmarks.md", "benchmarks.svg"
HEAD = f"""# Figures of `accident-reco bench`

What did the last run of each comparison measure, and on which machine?

![Ratios with their goals]({PLOT_FILE})"""
"""Head of the page that the documentation has; the file is written by the command alone."""
MEANING = {"rate": "× the rate of", "speedup": "× faster than", "cost": "× the time of"}
SCALE = "scale of the data"
BUSY_LOAD = 0.5
"""Load before the run, per core, above which its figures are no evidence."""


def write_report(folder: Path, results: Sequence[Result]) -> None:
    """Write the three files into a folder. Comparisons of the report there that did not run now stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    results = [*results, *_read_others(folder / JSON_FILE, {result.name for result in results})]
    places = {name: place for place, name in enumerate(COMPARISONS)}
    results = sorted(results, key=lambda result: places.get(result.name, len(places)))
    text = json.dumps(build_document(results), indent=2, ensure_ascii=False) + "\n"
    (folder / JSON_FILE).write_text(text, encoding="utf-8")
    (folder / TABLE_FILE).write_text("\n".join([HEAD, *build_markdown(results)]) + "\n", encoding="utf-8")
    draw(results, folder / PLOT_FILE)


def _read_others(path: Path, names: set[str]) -> list[Result]:
    if not path.exists():
        return []
    documents = json.loads(path.read_text(encoding="utf-8"))["comparisons"]
    return [Result.from_document(document) for document in documents if document["name"] not in names]


def build_document(results: Sequence[Result]) -> dict[str, Any]:
    """The results as JSON."""
    return {"comparisons": [result.to_document() for result in results]}


def build_markdown(results: Sequence[Result]) -> Iterator[str]:
    """The runs, a table with the ratios first, then our figures without a peer, failures and profiles."""
    for line, of_run in groupby(sorted(results, key=_describe_run), key=_describe_run):
        found = list(of_run)
        yield f"\n{', '.join(f'`{result.name}`' for result in found)}: {line}."
        yield from _warn(found[0].run)
    pairs = [row for result in results for row in result.rows if row.peer]
    if pairs:
        yield "\n| ratio | turns | goal | what | peer | ours | theirs |\n|---|---|---|---|---|---|---|"
        for row in sorted(pairs, key=lambda row: row.ratio is None):
            yield f"| {' | '.join(_pair_cells(row))} |"
    alone = [row for result in results for row in result.rows if not row.peer]
    if alone:
        yield "\n| ours | goal | what |\n|---|---|---|"
        for row in alone:
            yield f"| {_value(row.ours, row.unit)} | {_goal(row)} | {row.what} |"
    for result in results:
        if result.error:
            yield f"\n**{result.name} failed**: {result.error}"
        if result.profile:
            yield f"\nOwn time by function of our side of `{result.name}`, which misses a goal:\n"
            yield f"```text\n{result.profile.rstrip()}\n```"


def _describe_run(result: Result) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in result.run.settings.items())
    return "; ".join(part for part in (describe(result.run.machine), settings) if part)


def _warn(run: Run) -> Iterator[str]:
    load, cores = run.machine["load_before"], run.machine["cores"]
    if load > BUSY_LOAD * cores:
        yield f"\nThe machine was busy before the run (load {load}): its figures are no evidence."
    scale = run.settings.get(SCALE, 1)
    if scale < 1:
        yield f"\nA trial on {scale:.3g} of the data and trees: its figures are no evidence."


def describe(machine: Mapping[str, Any]) -> str:
    """The machine and the versions in a sentence."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['started'][:10]}, {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']:g} GiB, "
        f"{machine['system']}, Python {machine['python']}, {versions}, commit {machine['commit'] or 'unknown'}, "
        f"load before the run {machine['load_before']:g}"
    )


def _pair_cells(row: Row) -> list[str]:
    if row.ratio is None:
        return ["not measured", "–", _goal(row), row.what, row.peer, _value(row.ours, row.unit), row.missing]
    low, high = min(row.ratios), max(row.ratios)
    ratio = f"**{format_number(row.ratio)}** {_get_meaning(row)}"
    turns = f"{format_number(low)} to {format_number(high)}"
    ours, theirs = _value(row.ours, row.unit), _value(row.theirs, row.unit)
    return [ratio, turns, _goal(row), row.what, row.peer, ours, theirs]


def _get_meaning(row: Row) -> str:
    """What the ratio of a row says of its peer."""
    is_memory = row.kind == "cost" and row.unit in ("MB", "GiB")
    return "× the memory of" if is_memory else MEANING[row.kind or "rate"]


def _goal(row: Row) -> str:
    if row.goal is None:
        return "–"
    return f"{row.goal}: {({True: 'met', False: '**missed**', None: 'unknown'})[row.is_met]}"


def _value(turns: Sequence[float], unit: str) -> str:
    return f"{format_number(statistics.median(turns))} {unit}" if turns else "–"


def format_number(value: float) -> str:
    """Three significant digits, with separators of thousands."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def draw(results: Sequence[Result], path: Path) -> None:
    """A bar per ratio on a logarithmic axis, with its range over the turns and its goal; the same bytes for the same
    figures.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for result in results for row in result.rows if row.ratio is not None]
    settings = {"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9}
    with mpl.rc_context(settings):
        figure, axes = plt.subplots(figsize=(11, 1.2 + 0.34 * max(1, len(rows))), layout="constrained")
        try:
            _draw_bars(axes, list(reversed(rows)))
            figure.savefig(path, metadata={"Date": None})
        finally:
            plt.close(figure)


def _draw_bars(axes: Any, rows: list[Row]) -> None:
    colours = {True: "#2e7d32", False: "#c62828", None: "#546e7a"}
    for place, row in enumerate(rows):
        ratio, ratios = row.ratio, row.ratios
        assert ratio is not None
        error = [[ratio - min(ratios)], [max(ratios) - ratio]]
        axes.barh(place, ratio, color=colours[row.is_met], xerr=error, error_kw={"ecolor": "#90a4ae"})
        axes.annotate(f" {format_number(ratio)}", (max(ratios), place), va="center", fontsize=8)
        if row.goal is not None and row.goal.of == "ratio":
            axes.plot([row.goal.limit] * 2, [place - 0.45, place + 0.45], color="black", linewidth=1.5)
    names = [f"{row.what}: {_get_meaning(row)} {row.peer.partition(' (')[0]}" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_xscale("log")
    axes.axvline(1, color="#90a4ae", linewidth=0.8)
    axes.set_xlabel("ratio; black line: goal; grey line: range over the turns")
    axes.spines[["top", "right"]].set_visible(False)
