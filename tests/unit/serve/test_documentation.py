"""The HTTP API for readers."""

import json

import pytest

from mvcn.serve.documentation import Field, as_json, operations

KNOWN = {
    "Post": {
        "type": "object",
        "description": "One post.",
        "properties": {
            "text": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "Its text."},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["text"],
    },
}
BATCH = {
    "properties": {
        "posts": {"type": "array", "items": {"$ref": "#/components/schemas/Post"}},
        "first": {"$ref": "#/components/schemas/Post"},
        "shares": {"type": "object", "additionalProperties": {"type": "number"}},
        "file": {"type": "string", "format": "binary"},
    }
}
OPTION = {"name": "on", "in": "query", "schema": {"enum": ["a", "b"], "default": "a"}}


@pytest.fixture
def found():
    post = {
        "description": "Classify ``posts``.",
        "parameters": [OPTION],
        "requestBody": {"content": {"application/json": {"schema": BATCH, "example": {"a": 1}}}},
        "responses": {"200": {"description": "Fine.", "content": {}}},
    }
    schema = {"paths": {"/predict": {"post": post}}, "components": {"schemas": KNOWN}}
    (operation,) = operations(schema)
    return operation


def test_an_operation_has_its_words(found):
    assert (found.method, found.path, found.about) == ("POST", "/predict", "Classify posts.")
    assert [(one.status, one.about) for one in found.answers] == [("200", "Fine.")]


def test_a_parameter_has_its_choices_and_default(found):
    assert found.parameters == (Field("on", "by default a", "", False, ("a", "b")),)


def test_fields_are_followed_by_those_within_them(found):
    (body,) = found.bodies
    assert body.example == {"a": 1}
    assert {one.name: one.kind for one in body.fields} == {
        "posts": "list of objects",
        "posts[].text": "text or null",
        "posts[].tags": "list of texts",
        "first": "object",
        "first.text": "text or null",
        "first.tags": "list of texts",
        "shares": "object of numbers",
        "file": "file",
    }
    required = {one.name for one in body.fields if one.is_required}
    assert required == {"posts[].text", "first.text"}
    about = {one.name: one.about for one in body.fields}
    assert (about["first"], about["posts[].text"]) == ("One post.", "Its text.")


def test_an_example_is_what_it_was():
    example = {"text": 'schön "so"'}
    assert json.loads(as_json(example)) == example
