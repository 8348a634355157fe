"""Accidents of one year as another one: under other numbers and ids, in another order, with columns rewritten."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd

from accident_reco.models.accidents.data.victims import RawFile
from accident_reco.models.accidents.sample.write import get_file_names


def republished_files(files: dict[str, RawFile], year: int, seed: int = 1) -> dict[str, RawFile]:
    """Published files (since 2019) as those of `year`: every number, id and row position differs, nothing else."""
    rng = np.random.default_rng(seed)
    numbers: dict[str, str] = {}
    made = {}
    for table, file in files.items():
        frame = pd.read_csv(io.BytesIO(file.data), sep=";", dtype=str, keep_default_na=False)
        frame = frame.sample(frac=1, random_state=int(rng.integers(2**31)))
        number = "Accident_Id" if "Accident_Id" in frame else "Num_Acc"
        for old in frame[number].unique():
            numbers.setdefault(old, f"{year}{len(numbers) + 1:08d}")
        frame[number] = frame[number].map(numbers)
        for name in ("id_vehicule", "id_usager"):
            if name in frame:
                frame[name] = "7" + frame[name].str.replace(r"\D", "", regex=True)
        if "an" in frame:
            frame["an"] = str(year)
        text = frame.to_csv(sep=";", index=False, quoting=csv.QUOTE_ALL)
        made[table] = RawFile(get_file_names(year)[table], text.encode())
    return made


def republished(victims: pd.DataFrame, year: int, seed: int = 1) -> pd.DataFrame:
    """A victims frame as that of `year`, likewise."""
    numbers = np.unique(victims["Num_Acc"])
    other = year * 10**8 + 1 + np.random.default_rng(seed).permutation(len(numbers))
    columns = {"an": np.int16(year), "Num_Acc": other[np.searchsorted(numbers, victims["Num_Acc"])]}
    return victims.assign(**columns).sample(frac=1, random_state=seed)


def rewritten(victims: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Columns in another code: no value is what it was."""
    changed = {}
    for name in names:
        kind = victims[name].dtype.kind
        changed[name] = victims[name] + "x" if kind == "O" else victims[name] + (0.5 if kind == "f" else 40)
    return victims.assign(**changed)
