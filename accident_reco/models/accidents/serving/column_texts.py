"""Columns of the reference profile in the codebook's words, for drift reports."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from accident_reco.contract import ColumnText
from accident_reco.models.accidents.codebook import FIELDS
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS, CONTEXT_NAMES, KINDS

_SAME_CODES: Final = {"driver_sexe": "sexe", "other_sexe": "sexe"}


def _build_texts() -> Mapping[str, ColumnText]:
    texts = {
        name: ColumnText(field.en, {code: english for code, (_, english) in (field.codes or {}).items()})
        for name, field in FIELDS.items()
    }
    for name in CONTEXT_COLUMNS:
        codes = dict(enumerate(KINDS)) if name == "other_kind" else {}
        if name in _SAME_CODES:
            codes = dict(texts[_SAME_CODES[name]].values)
        texts[name] = ColumnText(CONTEXT_NAMES[name], codes)
    return MappingProxyType(texts)


COLUMN_TEXTS: Final = _build_texts()
