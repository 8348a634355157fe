"""A form from the schema of an endpoint in an OpenAPI document, and the request body from the form's fields. Pure.

Handles what a tabular model has: one flat record, alone or in a list. Nested requests need pages of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

INPUT_TYPES: Final = {"number": "number", "integer": "number", "string": "text", "boolean": "checkbox"}


@dataclass(frozen=True)
class FormField:
    """One field of the form.

    Args:
        kind: `number`, `integer`, `string` or `boolean`.
        options: the allowed values where they are listed.
        example: a value to begin with; empty where the schema has none.
    """

    name: str
    kind: str
    description: str
    required: bool
    minimum: float | None = None
    maximum: float | None = None
    options: tuple[str, ...] = ()
    example: str = ""

    @property
    def help(self) -> str:
        """Description with the bounds."""
        bounds = ""
        if self.minimum is not None and self.maximum is not None:
            bounds = f"{self.minimum:g} to {self.maximum:g}"
        elif self.minimum is not None or self.maximum is not None:
            bounds = f"at least {self.minimum:g}" if self.minimum is not None else f"at most {self.maximum:g}"
        note = "" if self.required else "optional"
        return "; ".join(part for part in (self.description, bounds, note) if part)

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Value and text of each option."""
        return [(option, option) for option in self.options]

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the input. Bounds are checked by the service, whose message is better than the browser's."""
        step = {"number": "any", "integer": "1"}.get(self.kind)
        found: dict[str, Any] = {"step": step} if step else {}
        return found | ({"required": True} if self.required and self.kind != "boolean" else {})


@dataclass(frozen=True)
class SchemaForm:
    """The form of an endpoint.

    Args:
        wrapper: name of the list that the record is put into; empty: the record is the body.
        answers: field of the answer → its description.
    """

    summary: str
    fields: tuple[FormField, ...]
    wrapper: str
    answers: Mapping[str, str]


def read_form(document: Mapping[str, Any], path: str) -> SchemaForm | None:
    """The form of `POST path`; None where the endpoint is absent, or its body has a field that is no plain value."""
    operation = document.get("paths", {}).get(path, {}).get("post")
    if operation is None:
        return None
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    body = _resolve(document, content.get("schema", {}))
    record, wrapper = _find_record(document, body)
    fields = []
    for name, property_ in record.get("properties", {}).items():
        field = _read_field(document, name, property_, name in record.get("required", ()))
        if field is None and name in record.get("required", ()):
            return None
        if field is not None:
            fields.append(field)
    if not fields:
        return None
    answer = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return SchemaForm(operation.get("summary", ""), tuple(fields), wrapper, _read_answers(document, answer))


def build_body(form: SchemaForm, given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Request body of the submitted fields, and field → what is wrong with it. Empty fields are left out."""
    record: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for field in form.fields:
        text = str(given.get(field.name, "")).strip()
        if field.kind == "boolean":
            record[field.name] = text != ""
        elif not text:
            if field.required:
                errors[field.name] = "Enter a value."
        elif field.kind in ("number", "integer"):
            try:
                record[field.name] = int(text) if field.kind == "integer" else float(text)
            except ValueError:
                errors[field.name] = "Enter a whole number." if field.kind == "integer" else "Enter a number."
        else:
            record[field.name] = text
    return ({form.wrapper: [record]} if form.wrapper else record), errors


def find_field_errors(form: SchemaForm, errors: Mapping[str, str]) -> dict[str, str]:
    """Errors of the service by field: the last part of each JSON pointer that is a field of the form."""
    names = {field.name for field in form.fields}
    found = {}
    for pointer, rule in errors.items():
        name = next((part for part in reversed(pointer.split("/")) if part in names), None)
        if name is not None:
            found[name] = rule
    return found


def _resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(10):
        reference = schema.get("$ref")
        if reference is None:
            return schema
        schema = document["components"]["schemas"][str(reference).rpartition("/")[2]]
    return {}


def _find_record(document: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    properties = body.get("properties", {})
    if len(properties) == 1:
        ((name, schema),) = properties.items()
        if schema.get("type") == "array":
            return _resolve(document, schema.get("items", {})), name
    return body, ""


def _read_field(document: Mapping[str, Any], name: str, schema: Mapping[str, Any], required: bool) -> FormField | None:
    own = _resolve(document, schema)
    if "anyOf" in own:
        kinds = [part for part in own["anyOf"] if part.get("type") != "null"]
        own = {**(_resolve(document, kinds[0]) if len(kinds) == 1 else {}), "description": own.get("description", "")}
    if own.get("type") not in INPUT_TYPES:
        return None
    examples = own.get("examples") or [own.get("default")]
    return FormField(
        name,
        own["type"],
        str(own.get("description") or ""),
        required,
        own.get("minimum", own.get("exclusiveMinimum")),
        own.get("maximum", own.get("exclusiveMaximum")),
        tuple(map(str, own.get("enum", ()))),
        "" if examples[0] is None else str(examples[0]),
    )


def _read_answers(document: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    properties = _resolve(document, schema).get("properties", {})
    for name, own in properties.items():
        if own.get("type") == "array" and "properties" in (items := _resolve(document, own.get("items", {}))):
            found |= {inner: str(each.get("description") or "") for inner, each in items["properties"].items()}
        else:
            found[name] = str(own.get("description") or "")
    return found
