"""Monitoring of the accident model: logged rows, stored years as windows, and files new to the champion."""

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
from accident_reco.models.accidents.codebook import FIELDS, UNKNOWN, Field, to_number
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.settings import AccidentSettings

if TYPE_CHECKING:
    from accident_reco.models.accidents.scoring.scorer import AccidentScorer


def convert_inputs(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Logged inputs with numbers where the codebook has numbers; the log keeps the request's notation (17:45).

    NaN stands for unknown (-1), except where -1 is a value: a longitude.
    """
    return {name: _convert(FIELDS.get(name), name, value) for name, value in inputs.items()}


def _convert(field: Field | None, name: str, value: Any) -> Any:
    if field is not None and field.kind == "text":
        return value
    number = to_number(name, value) if isinstance(value, str) and field is not None else value
    if number == UNKNOWN and not (field is not None and field.real and field.accepts(number)):
        return float("nan")
    return number


def get_accident_key(row: Mapping[str, Any]) -> str | None:
    """Key of a logged row's accident: its number, else its position in the request; None without both."""
    inputs = row["inputs"] if isinstance(row["inputs"], Mapping) else {}
    number, position = inputs.get("Num_Acc"), inputs.get("accident")
    if number is not None:
        return f"n{number}"
    return None if position is None else f"r{row['request_id']}/{position}"


def load_year_window(
    platform: Platform, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes], year: int
) -> Window:
    """A stored year as a window; its labels are those of holdout accidents, which no version was trained on.

    Raises:
        ObjectNotFound: the year is not in the store.
    """
    from accident_reco.models.accidents.data.duplicates import find_excluded_accidents
    from accident_reco.models.accidents.data.raw_store import (
        load_contents,
        load_current_years,
        load_frame,
        load_summaries,
    )
    from accident_reco.models.accidents.scoring.scorer import AccidentScorer

    frame = load_frame(platform.objects, "victims", year)
    scorer: AccidentScorer = AccidentScorer.from_files(files, manifest)
    score = scorer.probability({name: frame[name].to_numpy() for name in scorer.columns if name in frame})
    number = frame["Num_Acc"].to_numpy(dtype=np.int64)
    severe = is_severe(frame["grav"].to_numpy())
    stored = load_summaries(platform.objects).get(year)
    same_source = load_current_years(platform.objects, stored["data_source"]) if stored else {}
    excluded = find_excluded_accidents(load_contents(platform.objects, same_source))
    held_out = in_holdout(number) & ~np.isin(number, excluded)
    return Window(
        f"partition:{year}",
        {name: frame[name].to_numpy() for name in reference.columns if name in frame},
        number,
        score,
        severe.astype(np.int64),
        labelled=Labelled(score[held_out], severe[held_out].astype(np.float64), number[held_out]),
    )


def find_new_years(platform: Platform, manifest: Manifest) -> NewData | str:
    """Stored years that a training would use and whose published files are not among the champion's sources.

    Returns one sentence instead where there are fewer than the setting `retrain_new_years`.
    """
    from accident_reco.models.accidents.data.raw_store import load_current_years, select_comparable_years

    needed = platform.settings.of(AccidentSettings).retrain_new_years
    known = {str(source.get("sha256")) for source in manifest.lineage.get("sources", [])}
    stored = load_current_years(platform.objects, manifest.data_source)
    new: dict[str, list[str]] = {}
    for year in select_comparable_years(stored):
        hashes = {str(file["sha256"]) for file in stored[year]["files"].values()}
        if not hashes <= known:
            new[str(year)] = sorted(hashes)
    if not new:
        return "every ingested year is among the champion's sources"
    evidence = f"files that the champion has not seen: {', '.join(sorted(new))}"
    if len(new) < needed:
        return f"{evidence}; {needed} years are needed"
    return NewData(json.dumps(new, sort_keys=True), evidence)
