"""Columns of the accident tables as Dagster shows them: types and meaning, and the columns that each comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from accident_reco.defs.table_schema import build_lineage
from accident_reco.models.accidents.codebook import FIELDS, TABLES
from accident_reco.models.accidents.data.schema import COLUMNS, VICTIM_COLUMNS, get_dtype
from accident_reco.models.accidents.features.builder import FeatureSpec
from accident_reco.models.accidents.features.context_columns import CONTEXT_NAMES
from accident_reco.models.accidents.features.sources import find_context_sources, find_feature_sources
from accident_reco.models.accidents.model import BASE
from accident_reco.models.accidents.training.training_rows import extract_columns

SAMPLE_ROWS = 500
RAW = {table: dg.AssetKey([BASE, table]) for table in TABLES}
VICTIMS = dg.AssetKey([BASE, "victims"])


def describe_victims() -> dict[str, Any]:
    """Schema of the victims with the columns of the published tables behind each of theirs."""
    columns = [dg.TableColumn(name, get_dtype(name), FIELDS[name].en) for name in VICTIM_COLUMNS]
    columns += [dg.TableColumn(name, "int32", text) for name, text in CONTEXT_NAMES.items()]
    sources = {name: [(RAW[table], name) for table in TABLES if name in COLUMNS[table]] for name in VICTIM_COLUMNS}
    sources |= {
        name: [(RAW["vehicules" if source == "catv" else "usagers"], source) for source in found]
        for name, found in find_context_sources().items()
    }
    sources |= {"nb_users": [(RAW["usagers"], "Num_Acc")], "nb_vehicles": [(RAW["vehicules"], "Num_Acc")]}
    return {"dagster/column_schema": dg.TableSchema(columns), **build_lineage(sources)}


def describe_copied(columns: Iterable[object], *assets: dg.AssetKey) -> dict[str, Any]:
    """Lineage of columns that these assets have under the same name."""
    names = [str(name) for name in columns]
    return build_lineage({name: [(asset, name) for asset in assets] for name in names if name != "synthetic"})


def describe_features(training_set: pd.DataFrame, features: pd.DataFrame, source: dg.AssetKey) -> dict[str, Any]:
    """Lineage of the model matrix, by computing features of some rows."""
    some = training_set.iloc[:: max(len(training_set) // SAMPLE_ROWS, 1)]
    names = [str(name) for name in features]
    feature_set = "full" if "obs" in names else "call"
    columns = extract_columns(some)
    spec = FeatureSpec.learn(columns, feature_set, np.arange(len(some)) % 2)
    sources = {name: [(source, raw) for raw in found] for name, found in find_feature_sources(columns, spec).items()}
    derived = {"_num_acc": ["Num_Acc"], "_label": ["grav"], "_target": ["grav"]}
    sources |= {name: [(source, raw) for raw in found] for name, found in derived.items() if name in names}
    return build_lineage(sources)


def describe_scores(scored: pd.DataFrame, keys: Iterable[str], inputs: Iterable[str]) -> dict[str, Any]:
    """Lineage of batch scores: keys from the victims' own, everything computed from the inputs of the model."""
    own, read = set(keys), sorted(inputs)
    sources: Mapping[str, list[tuple[dg.AssetKey, str]]] = {
        str(name): [(VICTIMS, raw) for raw in ([str(name)] if name in own else read)]
        for name in scored
        if name != "version"
    }
    return build_lineage(sources)
