"""What is monitored of the accident model: logged rows, stored years, published files new to the champion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from accident_reco.contract import NewData, Platform
from accident_reco.drift.window import Labelled, Window
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.lifecycle.reference import ReferenceProfile
from accident_reco.models.accidents.codebook import FIELDS, UNKNOWN, Field, canonical
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.settings import AccidentSettings

if TYPE_CHECKING:
    from accident_reco.models.accidents.scoring.scorer import AccidentScorer


def canonical_inputs(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Logged inputs with numbers where the codebook has numbers: the log keeps what callers wrote, such as 17:45.

    NaN stands for unknown (-1), but where -1 is a value: a longitude.
    """
    return {name: _canonical(FIELDS.get(name), name, value) for name, value in inputs.items()}


def _canonical(spec: Field | None, name: str, value: Any) -> Any:
    if spec is not None and spec.kind == "text":
        return value
    number = canonical(name, value) if isinstance(value, str) and spec is not None else value
    if number == UNKNOWN and not (spec is not None and spec.real and spec.accepts(number)):
        return float("nan")
    return number


def accident_of(row: Mapping[str, Any]) -> str | None:
    """Accident of a logged row: its number where that was given, else its place in the request; None without both."""
    inputs = row["inputs"] if isinstance(row["inputs"], Mapping) else {}
    number, place = inputs.get("Num_Acc"), inputs.get("accident")
    if number is not None:
        return f"n{number}"
    return None if place is None else f"r{row['request_id']}/{place}"


def year_window(
    platform: Platform, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes], year: int
) -> Window:
    """A materialized year; its labels and performance are those of accidents that no version was trained on.

    Raises:
        ObjectNotFound: the year is not in the store.
    """
    from accident_reco.models.accidents.data.duplicates import excluded_duplicates
    from accident_reco.models.accidents.data.raw_store import current_years, load_contents, load_frame, summaries
    from accident_reco.models.accidents.scoring.scorer import AccidentScorer

    frame = load_frame(platform.objects, "victims", year)
    scorer: AccidentScorer = AccidentScorer.from_files(files, manifest)
    score = scorer.probability({name: frame[name].to_numpy() for name in scorer.columns if name in frame})
    number = frame["Num_Acc"].to_numpy(dtype=np.int64)
    severe = is_severe(frame["grav"].to_numpy())
    stored = summaries(platform.objects).get(year)
    same_source = current_years(platform.objects, stored["data_source"]) if stored else {}
    excluded = excluded_duplicates(load_contents(platform.objects, same_source))
    held_out = in_holdout(number) & ~np.isin(number, excluded)
    return Window(
        f"partition:{year}",
        {name: frame[name].to_numpy() for name in reference.columns if name in frame},
        number,
        score,
        severe.astype(np.int64),
        labelled=Labelled(score[held_out], severe[held_out].astype(np.float64), number[held_out]),
    )


def new_years(platform: Platform, manifest: Manifest) -> NewData | str:
    """Stored years that a training would use and whose published files are not among the champion's sources."""
    from accident_reco.models.accidents.data.raw_store import comparable_years, current_years

    needed = platform.settings.of(AccidentSettings).retrain_new_years
    known = {str(source.get("sha256")) for source in manifest.lineage.get("sources", [])}
    stored = current_years(platform.objects, manifest.data_source)
    fresh: dict[str, list[str]] = {}
    for year in comparable_years(stored):
        hashes = {str(file["sha256"]) for file in stored[year]["files"].values()}
        if not hashes <= known:
            fresh[str(year)] = sorted(hashes)
    if not fresh:
        return "every ingested year is among the champion's sources"
    evidence = f"files that the champion has not seen: {', '.join(sorted(fresh))}"
    if len(fresh) < needed:
        return f"{evidence}; {needed} years are needed"
    return NewData(json.dumps(fresh, sort_keys=True), evidence)
