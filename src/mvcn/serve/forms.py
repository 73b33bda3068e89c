"""Bodies of ``multipart/form-data``, taken apart in memory: no file is written."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from mvcn.serve.responses import RequestError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


@dataclass
class Part:
    """One field of a form."""

    name: str
    filename: str | None
    """None for a field that is no file."""
    content: bytes


def parse_form(body: bytes, content_type: str) -> list[Part]:
    """Return the fields of a form in order.

    Raises:
        RequestError: It is no form, or ends too soon.
    """
    _, options = parse_options_header(content_type)
    if not options.get(b"boundary"):
        raise RequestError(400, "The Content-Type of the form names no boundary.")
    reader = _Reader()
    try:
        parser = MultipartParser(options[b"boundary"], reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(400, "The body is not a form as its boundary says.") from error
    if not reader.is_complete:
        raise RequestError(400, "The form is cut short: its last boundary is missing.")
    return reader.parts


@dataclass
class _Reader:
    """What the parser calls."""

    parts: list[Part] = field(default_factory=list)
    is_complete: bool = False
    _name: bytes = b""
    _value: bytes = b""
    _disposition: bytes = b""
    _content: bytearray = field(default_factory=bytearray)

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._read_name,
            "on_header_value": self._read_value,
            "on_header_end": self._end_header,
            "on_part_data": self._read_content,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._disposition, self._content = b"", bytearray()

    def _read_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _read_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _read_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _end_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise RequestError(400, "A field of the form has no name.")
        filename = options.get(b"filename")
        self.parts.append(
            Part(
                options[b"name"].decode("utf-8", "replace"),
                None if filename is None else filename.decode("utf-8", "replace"),
                bytes(self._content),
            )
        )

    def _end(self) -> None:
        self.is_complete = True
