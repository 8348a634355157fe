"""Validates the records of a request a field at a time, without an object for each record and each of its values.

The rules are those of the fields; the list's own schema describes the errors, and documents the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from accident_reco.models.accidents.data import schema

if TYPE_CHECKING:
    from accident_reco.models.accidents.serving.columns import ScoringRows


class Rule(Protocol):
    """The rule of one field."""

    def build_schema(self) -> CoreSchema:
        """Schema of one value, or None for unknown."""


class AsRows:
    """Annotation of a list of records, after all others: the list becomes `ScoringRows`.

    Args:
        rules: field → rule, of every field that a record may have.
        max_records: maximum length of the list.
    """

    def __init__(self, rules: Mapping[str, Rule], max_records: int) -> None:
        self._rules, self._max_records = rules, max_records
        fields = {
            name: core_schema.typed_dict_field(core_schema.list_schema(rule.build_schema()), required=False)
            for name, rule in rules.items()
        }
        self._columns = SchemaValidator(core_schema.typed_dict_schema(fields, extra_behavior="forbid"))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._validate, handler(source))

    def _validate(self, value: Any, records: core_schema.ValidatorFunctionWrapHandler) -> ScoringRows:
        # Here, since numpy is not for those who only need the schema: pages have forms of it.
        from accident_reco.models.accidents.serving.columns import from_records, transpose

        if type(value) is list and 0 < len(value) <= self._max_records and all(type(row) is dict for row in value):
            names = set().union(*value)
            # Unknown names come first: a column of each would take as long as there are names and records.
            if names <= self._rules.keys():
                with suppress(ValidationError):
                    given = transpose(value, names)
                    valid = self._columns.validate_python(given)
                    return from_records(value, valid, _is_converted(given))
        records(value)
        raise AssertionError("records are valid that are not valid column by column")


def _is_converted(given: Mapping[str, Sequence[Any]]) -> bool:
    """Whether validation makes other numbers of some: whole ones of 2021.0, floats of 48."""
    reals = given.keys() & schema.REAL
    types = map(type, chain.from_iterable(values for name, values in given.items() if name not in reals))
    return float in types or any(int in map(type, given[name]) for name in reals)
