"""Whole files through the predict service: time, memory, and what it is worth that a file knows its accidents.

`python -m accident_reco_tests.bench.scored_files DIRECTORY [--rounds N] [--repeat N]` with the four published files of
a year. A model is fitted on the accidents outside of the frozen holdout. Then all road users of the year are scored as
a file of joined lines and as the four tables in a zip, and the holdout's road users in three forms: nested requests, a
file of joined lines, and the same file without accident numbers. The service is a process of its own, with its log.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS
from accident_reco.models.accidents.scoring.files.published import recognise_table
from accident_reco.models.accidents.scoring.scorer import DECISION_FILE, FEATURES_FILE, MODEL_FILE, TREES_FILE
from accident_reco.models.accidents.serving.request import ACCIDENT_FIELDS, USER_FIELDS, VEHICLE_FIELDS
from accident_reco.models.accidents.training.calibration import fit_decision_rule
from accident_reco.models.accidents.training.candidate import build_signature, build_uncalibrated_scorer
from accident_reco.models.accidents.training.export import to_onnx
from accident_reco.models.accidents.training.fitting import BoostingParameters, TrainingRows, fit_boosting
from accident_reco.models.accidents.training.metrics import average_precision, roc_auc
from accident_reco.models.accidents.training.training_rows import extract_columns, take
from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.bench.predict_process import Server, running
from accident_reco_tests.support.flat_files import join_tables, write_csv
from accident_reco_tests.support.toy import promote
from serving.auth.bootstrap import ensure_admin

NESTED_ACCIDENTS = 400


def read_tables(folder: Path) -> dict[str, RawFile]:
    """The four published files of a folder by table."""
    files = [RawFile(path.name, path.read_bytes()) for path in sorted(folder.glob("*.csv"))]
    return {table: file for file in files if (table := recognise_table(file.data))}


def fit_bundle(victims: pd.DataFrame, rounds: int) -> Bundle:
    """A model of the accidents outside of the holdout, without tuning, synthetic rows or masking."""
    columns = extract_columns(victims)
    columns = take(columns, ~in_holdout(columns["Num_Acc"]))
    spec = FeatureSpec.learn(columns)
    label = is_severe(columns["grav"]).astype(np.int8)
    matrix = build_features(columns, spec, training_rows=True)
    rows = TrainingRows(matrix, label, np.ones(len(label), dtype=np.float32))
    trees = fit_boosting(rows, BoostingParameters(rounds=rounds), 0, 1)
    margin = build_uncalibrated_scorer(trees, spec).margin(matrix)
    rule = fit_decision_rule(margin, label, miss_cost=4.0, coverage=0.9, seed=0)
    files = {
        MODEL_FILE: to_onnx(trees, len(spec.names)),
        FEATURES_FILE: spec.to_json(),
        DECISION_FILE: rule.to_json(),
        TREES_FILE: trees.to_npz(),
    }
    lineage = {"data_source": "directory", "sources": []}
    return Bundle(
        "accidents", files, build_signature(files), {"roc_auc": 0.5}, lineage, {"promote": True, "reason": ""}
    )


def post(server: Server, body: bytes, content_type: str, path: str = "/predict/accidents/csv") -> bytes:
    """The answer to an upload of a client that reads only after it has sent everything."""
    headers = {"Content-Type": content_type, "Authorization": f"Bearer {server.token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=900) as response:
        return response.read()


def score_file(server: Server, body: bytes, content_type: str = "text/csv") -> list[dict[str, str]]:
    """The rows of the answer to a file."""
    return list(csv.DictReader(io.StringIO(post(server, body, content_type).decode()), delimiter=";"))


def score_nested(server: Server, victims: pd.DataFrame) -> np.ndarray:
    """Probability of every road user, by requests of whole accidents."""
    probabilities: list[float] = []
    groups = [users for _, users in victims.groupby("Num_Acc", sort=False)]
    for start in range(0, len(groups), NESTED_ACCIDENTS):
        accidents = [build_accident(users) for users in groups[start : start + NESTED_ACCIDENTS]]
        body = json.dumps({"accidents": accidents}).encode()
        answer = json.loads(post(server, body, "application/json", "/predict/accidents"))
        probabilities += [user["probability"] for one in answer["accidents"] for user in one["users"]]
    return np.array(probabilities)


def build_accident(users: pd.DataFrame) -> dict[str, Any]:
    """The nested form of an accident."""
    rows = users.to_dict("records")
    vehicles = {row["id_vehicule"]: row for row in reversed(rows) if row["id_vehicule"] is not None}
    return {
        **_select_known(rows[0], ACCIDENT_FIELDS),
        "vehicles": [{"id": name, **_select_known(row, VEHICLE_FIELDS)} for name, row in reversed(vehicles.items())],
        "users": [{"vehicle": row["id_vehicule"], **_select_known(row, USER_FIELDS)} for row in rows],
    }


def _select_known(row: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for name in names:
        value = row.get(name)
        value = value.item() if isinstance(value, np.generic) else value
        if name not in CONTEXT_COLUMNS and value is not None and value == value and value not in (-1, ""):
            found[name] = value
    return found


def measure(label: np.ndarray, probability: np.ndarray) -> str:
    """Quality of the probabilities of some road users."""
    return (
        f"ROC AUC {roc_auc(label, probability):.4f}, AP {average_precision(label, probability):.4f}, "
        f"mean probability {probability.mean():.4f}"
    )


def print_quality(server: Server, victims: pd.DataFrame, lines: list[dict[str, str]]) -> None:
    """The holdout in the nested form, as a file, and as a file whose accidents are unknown."""
    held = in_holdout(victims["Num_Acc"].to_numpy())
    held &= (victims.groupby("Num_Acc")["id_vehicule"].transform("nunique") == victims["nb_vehicles"]).to_numpy()
    chosen, label = victims[held], is_severe(victims["grav"].to_numpy()[held])
    nested = score_nested(server, chosen)
    kept = [line for line, is_held in zip(lines, held, strict=True) if is_held]
    forms = {"file": list(kept[0]), "file without Num_Acc": [name for name in kept[0] if name != "Num_Acc"]}
    print(f"{len(chosen):,} road users of the holdout")
    print("nested requests     ", measure(label, nested))
    for words, names in forms.items():
        rows = score_file(server, write_csv(kept, names))
        found = np.array([float(row["probability"]) for row in rows])
        contexts = sorted({row["context"] for row in rows})
        print(f"{words:20}", measure(label, found), f"context {contexts}, identical: {np.array_equal(found, nested)}")


def print_times(server: Server, files: Mapping[str, RawFile], lines: list[dict[str, str]], repeat: int) -> None:
    """Seconds, processor time and memory of a year in both forms."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files.values():
            archive.writestr(file.name, file.data)
    bodies = {"joined lines": (write_csv(lines), "text/csv"), "four tables": (packed.getvalue(), "application/zip")}
    for words, (body, content_type) in bodies.items():
        seconds, cpu = [], []
        for _ in range(repeat):
            started, used = time.perf_counter(), server.cpu_seconds
            rows = post(server, body, content_type).count(b"\n") - 1
            seconds.append(time.perf_counter() - started)
            cpu.append(server.cpu_seconds - used)
        print(
            f"{words:12} {rows:,} rows, {len(body) / 1e6:.1f} MB: {statistics.median(seconds):.2f} s "
            f"(best {min(seconds):.2f}), processor {statistics.median(cpu):.2f} s, {server.rss_mb:.0f} MB resident"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    files = read_tables(arguments.directory)
    victims = build_victims(files).victims
    lines = join_tables(files)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        settings = Settings.load(home=home)
        Warehouse(settings.database).upgrade()
        ensure_admin(settings)
        promote(home, fit_bundle(victims, arguments.rounds))
        with running(home) as server:
            print(f"ready: {server.rss_mb:.0f} MB resident")
            print_times(server, files, lines, arguments.repeat)
            print_quality(server, victims, lines)


if __name__ == "__main__":
    main()
