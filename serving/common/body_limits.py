"""Keeps a refused JSON body as cheap as a small one: few members per object, and validation that stops early.

Pydantic describes every error of a body, which takes longer than to parse it. What is valid costs nothing more here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, PydanticKnownError, core_schema

from serving.common.problems import MAX_ERRORS, Problem, build_too_many_errors

MAX_MEMBERS: Final = 200
"""Members of one object in a body: more than any model has fields."""
SLICE_ITEMS: Final = 16
_CONTAINERS: Final = frozenset((dict, list))


class FewErrors:
    """Annotation of a list in a body, after its `Field`: validation ends within some items of the 20th error."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = handler(source)
        if inner["type"] != "list" or "max_length" not in inner:
            raise TypeError("FewErrors is for lists with a max_length")
        most, least = inner["max_length"], inner.get("min_length", 0)

        def validate(value: Any, items: core_schema.ValidatorFunctionWrapHandler) -> Any:
            # The handler of a short list reports its length too, and values that are no list.
            if not isinstance(value, list) or len(value) <= max(least, SLICE_ITEMS):
                return items(value)
            if len(value) > most:
                raise PydanticKnownError("too_long", {"field_type": "List", "max_length": most, "actual_length": None})
            return _validate_slices(value, items, max(least, SLICE_ITEMS))

        return core_schema.no_info_wrap_validator_function(validate, inner)


def _validate_slices(value: list[Any], items: core_schema.ValidatorFunctionWrapHandler, size: int) -> list[Any]:
    found: list[Any] = []
    errors: list[InitErrorDetails] = []
    for start in range(0, len(value), size):
        # The last slice may not be shorter than the list may be.
        first = max(0, min(start, len(value) - size))
        try:
            validated = items(value[first : first + size])
            found += validated[start - first :]
        except ValidationError as error:
            lines = error.errors(include_url=False, include_context=False)
            errors += [_shift(line, first) for line in lines if int(line["loc"][0]) + first >= start]
            if len(errors) > MAX_ERRORS:
                break
    if errors:
        # One more than are listed, so that the answer can say that there are more.
        raise ValidationError.from_exception_data("list", errors[: MAX_ERRORS + 1])
    return found


def _shift(line: Any, start: int) -> InitErrorDetails:
    index, *rest = line["loc"]
    # Braces of a finished message must not be read as a template's.
    kind = PydanticCustomError(line["type"], "{message}", {"message": line["msg"]})
    return InitErrorDetails(type=kind, loc=(index + start, *rest), input=line["input"])


def collect_field_names(annotation: Any) -> frozenset[str]:
    """Names of the fields of every pydantic model in an annotation, nested ones included."""
    names: set[str] = set()
    seen: set[Any] = set()
    waiting = [annotation]
    while waiting:
        part = waiting.pop()
        if isinstance(part, type) and issubclass(part, BaseModel) and part not in seen:
            seen.add(part)
            names |= part.model_fields.keys()
            waiting += [field.annotation for field in part.model_fields.values()]
        waiting += get_args(part)
    return frozenset(names)


def check_members(value: Any, known: frozenset[str]) -> None:
    """Refuse objects with more than `MAX_MEMBERS` members.

    Args:
        known: names of the fields that the endpoint's body may have anywhere.

    Raises:
        Problem: 422, with the first members of the object that are in no body.
    """
    for path, large in _find_large(value, "body"):
        unknown = islice((name for name in large if name not in known), MAX_ERRORS)
        errors = [
            {"pointer": f"{path}/{name}"[:200], "code": "extra_forbidden", "detail": "Extra inputs are not permitted"}
            for name in unknown
        ]
        raise Problem(422, build_too_many_errors(), kind="invalid-request", errors=errors)


def _find_large(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects with too many members; the depth of JSON is bounded before."""
    if isinstance(value, dict):
        if len(value) > MAX_MEMBERS:
            yield path, value
        items: Iterable[tuple[Any, Any]] = value.items()
    else:
        items = enumerate(value)
    for name, item in items:
        # Most objects of a large body are small and flat: one look at the types of their values.
        if type(item) is list or (type(item) is dict and (len(item) > MAX_MEMBERS or _is_nested(item))):
            yield from _find_large(item, f"{path}/{name}")


def _is_nested(value: dict[str, Any]) -> bool:
    return not _CONTAINERS.isdisjoint(map(type, value.values()))
