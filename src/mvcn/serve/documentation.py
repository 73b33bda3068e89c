"""The HTTP API for readers: the OpenAPI description of the service as rows of a page."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

KINDS = {
    "array": "list",
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "object": "object",
    "string": "text",
}
"""Type of JSON Schema -> how a reader calls it."""
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a body or answer, or a parameter of an address."""

    name: str
    """With the names of what it is in, as in ``posts[].text``."""
    kind: str
    about: str
    is_required: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """A body or answer of one media type."""

    media_type: str
    fields: tuple[Field, ...]
    example: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back with one status."""

    status: str
    about: str
    contents: tuple[Content, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """A method at a path."""

    method: str
    path: str
    about: str
    parameters: tuple[Field, ...]
    bodies: tuple[Content, ...]
    answers: tuple[Answer, ...]


def operations(schema: Schema) -> list[Operation]:
    """Return the operations that an OpenAPI description declares, in its order.

    Args:
        schema: The description, with all definitions under ``components`` or in a body's ``$defs``.
    """
    known = schema.get("components", {}).get("schemas", {})
    return [
        _operation(method, path, one, known)
        for path, methods in schema["paths"].items()
        for method, one in methods.items()
    ]


def _operation(method: str, path: str, one: Schema, known: Schema) -> Operation:
    body = one.get("requestBody", {})
    answers = one["responses"].items()
    return Operation(
        method.upper(),
        path,
        one.get("description", "").replace("``", ""),
        tuple(_parameter(each) for each in one.get("parameters", ())),
        _contents(body, known),
        tuple(
            Answer(status, each["description"], _contents(each, known)) for status, each in answers
        ),
    )


def _parameter(one: Schema) -> Field:
    schema, choices = one["schema"], tuple(one["schema"].get("enum", ()))
    kind = f"by default {schema['default']}" if "default" in schema else _kind(schema, {})
    return Field(one["name"], kind, one.get("description", ""), one.get("required", False), choices)


def _contents(one: Schema, known: Schema) -> tuple[Content, ...]:
    return tuple(
        Content(
            media_type,
            tuple(_fields(each["schema"], {**known, **each["schema"].get("$defs", {})})),
            each.get("example"),
        )
        for media_type, each in one.get("content", {}).items()
    )


def _fields(schema: Schema, known: Schema, prefix: str = "") -> Iterator[Field]:
    """Yield the fields of an object, or of the first of several, each before those within it."""
    schema = _resolved(schema.get("anyOf", [schema])[0], known)
    for name, one in schema.get("properties", {}).items():
        found = _resolved(one, known)
        about = one.get("description", found.get("description", ""))
        yield Field(prefix + name, _kind(found, known), about, name in schema.get("required", ()))
        inner = found.get("items")
        yield from _fields(inner or found, known, f"{prefix}{name}{'[]' if inner else ''}.")


def _resolved(schema: Schema, known: Schema) -> Schema:
    reference = schema.get("$ref")
    return schema if reference is None else known[reference.rpartition("/")[2]]


def _kind(schema: Schema, known: Schema) -> str:
    schema = _resolved(schema, known)
    if "anyOf" in schema:
        return " or ".join(_kind(one, known) for one in schema["anyOf"])
    if schema.get("format") == "binary":
        return "file"
    if "items" in schema:
        return f"list of {_plural(_kind(schema['items'], known))}"
    name = str(schema.get("type", "anything"))
    inner = schema.get("additionalProperties")
    if name == "object" and isinstance(inner, Mapping) and "type" in inner:
        return f"object of {_plural(_kind(inner, known))}"
    return KINDS.get(name, name)


def _plural(kind: str) -> str:
    return kind if kind in ("true or false", "anything") else f"{kind}s"


def as_json(example: Any) -> str:
    """Return an example as a reader would type it."""
    return json.dumps(example, indent=2, ensure_ascii=False)
