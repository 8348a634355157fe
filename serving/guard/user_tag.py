"""Marks the runs that a logged-in person starts in Dagster's pages with the account; nobody can choose another one."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

USER_TAG: Final = "accident_reco/user"
_ESCAPE: Final = re.compile(r"\\u(?:([0-9A-Fa-f]{4})|\{0{0,8}([0-9A-Fa-f]{1,4})\})")


class ForgedTag(ValueError):
    """The request sets the tag itself."""


def add_user_tag(body: bytes, name: str) -> bytes:
    """A GraphQL request in which the runs to start carry the tag.

    Raises:
        ForgedTag: the tag occurs in the request already.
        ValueError: the body is not JSON.
    """
    document = orjson.loads(body)
    # Parsed first: JSON may escape the name.
    if USER_TAG in _texts(document):
        raise ForgedTag(f"the tag {USER_TAG} is set by the guard")
    variables = document.get("variables") if isinstance(document, dict) else None
    if not isinstance(variables, dict):
        return body
    for parameters in _find_launches(variables):
        metadata = parameters.setdefault("executionMetadata", {})
        if isinstance(metadata, dict):
            metadata["tags"] = [*(metadata.get("tags") or []), {"key": USER_TAG, "value": name}]
    return orjson.dumps(document)


def _find_launches(variables: dict[str, Any]) -> list[dict[str, Any]]:
    """Execution parameters among the variables: one of them, or a list."""
    found = []
    for value in variables.values():
        found += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]
    return [item for item in found if "selector" in item and ("runConfigData" in item or "executionMetadata" in item)]


def _texts(document: Any) -> str:
    """Every text of the request, keys included, in one; operations are text themselves."""
    found: list[str] = []
    waiting = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, dict):
            found += part.keys()
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    # An operation may escape characters of a text, too.
    return "\n".join(_ESCAPE.sub(lambda escape: chr(int(escape[1] or escape[2], 16)), text) for text in found)
