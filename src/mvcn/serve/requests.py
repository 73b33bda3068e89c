"""Posts from request bodies: one as a form, one or many as JSON; nothing is opened or fetched."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import PydanticCustomError
from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field as FormField
from python_multipart.multipart import File, parse_options_header

from mvcn.data.formats.rows import repeated_name
from mvcn.data.image_references import UnreadableImage, decode_base64_image, is_base64_image
from mvcn.data.images import image_size
from mvcn.data.text import replace_surrogates
from mvcn.errors import BadImageError, reason_of
from mvcn.serve.limits import Limits, RequestError
from mvcn.types import Post, StoredImage

LOG = logging.getLogger("mvcn.serve")
JSON = "application/json"
FORM = "multipart/form-data"
FIELDS = ("text", "image")
MAX_ID_CHARACTERS = 1000
NOT_BASE64 = UnreadableImage(
    "in the request",
    "The image is not the base64 text of an image file: addresses are not downloaded and paths "
    "are not opened.",
)
EXAMPLE = '{"posts": [{"text": "What a lovely day"}]}'
"""A body that is right."""
FAULTS = {
    "extra_forbidden": "is not a field",
    "missing": "is missing",
    "list_type": "must be a list of posts",
    "too_short": "is empty",
    "model_type": "must be an object",
    "string_type": "must be text or null",
    "id_type": "must be text, a whole number or null",
    "string_too_long": "is too long",
}
"""Type of a pydantic error -> the end of a sentence that begins with its place."""


def _id_text(given: Any) -> str | None:
    """Return an id as text, as in tables.

    Raises:
        PydanticCustomError: It is neither text nor a whole number nor null.
    """
    if type(given) is int:
        return str(given)
    if given is None or isinstance(given, str):
        return given
    raise PydanticCustomError("id_type", "no id")


class PostBody(BaseModel):
    """One post of a batch."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[
        str | None, BeforeValidator(_id_text, json_schema_input_type=str | int | None)
    ] = Field(None, description="By default its number, from 0.", max_length=MAX_ID_CHARACTERS)
    text: str | None = None
    image: str | None = Field(
        None, description="Base64 or data URL of an image file; no web address, no path."
    )


class PostsBody(BaseModel):
    """A batch of posts."""

    model_config = ConfigDict(extra="forbid", strict=True)

    posts: list[PostBody] = Field(min_length=1)


class FormPart(NamedTuple):
    """One field of a form."""

    name: bytes
    content: bytes
    filename: bytes | None
    """None for a field that is not a file."""


@dataclass(frozen=True, eq=False, slots=True)
class UploadedImage(StoredImage):
    """An image file sent by a client; its content determines its format."""

    content: bytes
    max_pixels: int

    def read(self) -> bytes:
        """Return the file; raises a BadImageError if it is not an image or has too many pixels."""
        width, height = image_size(self.content)
        if width * height > self.max_pixels:
            raise BadImageError(
                f"The image has {width * height:,} pixels, more than the {self.max_pixels:,} "
                "allowed: scale it down."
            )
        return self.content

    def __str__(self) -> str:
        return "in the request"


def parse_json(body: bytes, limits: Limits, columns: Mapping[str, str]) -> list[Post]:
    """Return the posts of a JSON body; one that is a post itself is a batch of one.

    Args:
        body: Of a request.
        limits: Limits of posts, texts and images.
        columns: Our name of a column -> its name in the run's table, which is also accepted.

    Raises:
        RequestError: It is malformed, neither a `PostsBody` nor a `PostBody`, or exceeds a limit.
    """
    try:
        content = _with_our_names(_as_batch(_content(body), columns), columns)
        batch = PostsBody.model_validate(content)
    except ValidationError as error:
        raise RequestError(422, _explain(error, columns)) from None  # its text holds the post
    if len(batch.posts) > limits.posts:
        raise RequestError(
            422,
            f"There are {len(batch.posts)} posts, more than the {limits.posts} allowed: send "
            "them in several requests.",
        )
    return [_post(number, post, limits) for number, post in enumerate(batch.posts)]


def _content(body: bytes) -> Any:
    """Return the content of a JSON body, with lone surrogates, escaped or encoded, as U+FFFD."""
    replaced: list[int] = []

    def to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = {replace_surrogates(name).text: value for name, value in pairs}
        if len(content) < len(pairs):
            name = repeated_name(name for name, _ in pairs)
            raise RequestError(
                422,
                f"The JSON has the field {str(name)[:40]!r} twice in one object: remove one "
                "of them.",
            )
        for name, value in content.items():
            if isinstance(value, str):
                content[name], count = replace_surrogates(value)
                replaced.append(count)
        return content

    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        content = json.loads(text, object_pairs_hook=to_object)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            400, f"The body is not JSON ({reason_of(error)}): send {EXAMPLE}."
        ) from error
    _log_replaced(sum(replaced))
    return content


def _as_batch(content: Any, columns: Mapping[str, str]) -> Any:
    """Return a batch of one where the content is a post, and else the content."""
    if not isinstance(content, dict) or "posts" in content:
        return content
    fields = {*PostBody.model_fields, *map(columns.get, PostBody.model_fields)}
    return content if fields.isdisjoint(content) else {"posts": [content]}


def _with_our_names(content: Any, columns: Mapping[str, str]) -> Any:
    """Return a batch with the run's names of columns replaced by ours."""
    posts = content.get("posts") if isinstance(content, dict) else None
    fields = PostBody.model_fields
    names = {ours: columns[ours] for ours in fields if columns.get(ours, ours) not in fields}
    for post in posts if isinstance(posts, list) else ():
        for ours, theirs in names.items() if isinstance(post, dict) else ():
            if theirs in post and ours not in post:
                post[ours] = post.pop(theirs)
    return content


def _log_replaced(count: int) -> None:
    if count:
        LOG.warning("replaced", extra={"lone_surrogates": count})


def parse_one(
    body: bytes, limits: Limits, columns: Mapping[str, str], content_type: str
) -> list[Post]:
    """Return the one post of a form.

    Args:
        body: Of a request.
        limits: Limits of posts, texts and images.
        columns: As for `parse_json`.
        content_type: Header of the request, with the boundary of the parts.

    Raises:
        RequestError: It is malformed, has other fields than text and image, or exceeds a limit.
    """
    fields = _by_name(parse_form(body, content_type), columns)
    text, image = fields.get("text"), fields.get("image")
    if image is not None and not image.content and not image.filename:
        image = None  # sent by browsers if no file was chosen
    words = "" if text is None else _decode_text(text.content)
    _check_text("0", words, limits)
    return [Post("0", words, None if image is None else _image_of_form(image, limits))]


def parse_form(body: bytes, content_type: str) -> list[FormPart]:
    """Return the fields of a form; no file is written.

    Raises:
        RequestError: It is not a form, or truncated.
    """
    parts: list[FormPart] = []
    ends: list[bool] = []

    def add_field(field: FormField) -> None:
        parts.append(FormPart(field.field_name or b"", field.value or b"", None))

    def add_file(file: File) -> None:
        file.file_object.seek(0)
        parts.append(FormPart(file.field_name or b"", file.file_object.read(), file.file_name))

    parser = FormParser(
        FORM,
        add_field,
        add_file,
        lambda: ends.append(True),
        _boundary(content_type),
        config={"MAX_MEMORY_FILE_SIZE": math.inf},
    )
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(
            400,
            "The body is not a form that fits its Content-Type, or a field has no name: send the "
            "fields text and image.",
        ) from error
    if not ends:
        raise RequestError(
            400, "The form is truncated (its last boundary is missing): send it again."
        )
    return parts


def _boundary(content_type: str) -> bytes:
    _, options = parse_options_header(content_type)
    if not options.get(b"boundary"):
        raise RequestError(
            400, "The Content-Type of the form has no boundary: let your HTTP client set it."
        )
    return options[b"boundary"]


def _image_of_form(part: FormPart, limits: Limits) -> StoredImage:
    """Return the image of a form, which clients send as a file or as base64 text."""
    if part.filename is None and is_base64_image(text := part.content.decode("latin-1").strip()):
        return _decode_image(text, limits)
    return UploadedImage(part.content, limits.pixels)


def _by_name(parts: Sequence[FormPart], columns: Mapping[str, str]) -> dict[str, FormPart]:
    ours = {columns.get(name, name): name for name in FIELDS} | {name: name for name in FIELDS}
    fields: dict[str, FormPart] = {}
    for part in parts:
        name = ours.get(part.name.decode("utf-8", "replace"))
        if name is None:
            raise RequestError(422, "A form has only the fields text and image: remove any others.")
        if name in fields:
            raise RequestError(422, f"The field {name} occurs twice: send several posts as JSON.")
        fields[name] = part
    return fields


def _decode_text(content: bytes) -> str:
    try:
        text, count = replace_surrogates(content.decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError as error:
        raise RequestError(422, "The text is not UTF-8: encode it as UTF-8.") from error
    _log_replaced(count)
    return text


def _post(number: int, body: PostBody, limits: Limits) -> Post:
    post_id = str(number) if body.id is None else body.id
    text = body.text or ""
    _check_text(post_id, text, limits)
    image = (body.image or "").strip()
    return Post(post_id, text, _decode_image(image, limits) if image else None)


def _decode_image(text: str, limits: Limits) -> StoredImage:
    try:
        return UploadedImage(decode_base64_image(text), limits.pixels)
    except ValueError:
        return NOT_BASE64


def _check_text(post_id: str, text: str, limits: Limits) -> None:
    if len(text) > limits.text_characters:
        raise RequestError(
            422,
            f"Post {post_id!r}: the text has {len(text):,} characters, more than the "
            f"{limits.text_characters:,} allowed: shorten it.",
        )


def _explain(error: ValidationError, columns: Mapping[str, str]) -> str:
    """Return a sentence for the first error, without the content of the request."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, fault["loc"])) or "the body"
    what = FAULTS.get(fault["type"], f"is wrong ({fault['msg'].lower()})")
    ours = list(PostBody.model_fields)
    theirs = [columns[name] for name in ours if columns.get(name, name) not in ours]
    *others, last = [*ours, *filter(None, theirs)]
    return (
        f"The JSON is not a batch of posts ({place} {what}): send {EXAMPLE}, where a post has the "
        f"fields {', '.join(others)} and {last}."
    )
