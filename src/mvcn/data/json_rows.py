"""Rows of JSON lines: one object a line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvcn.data.base64_images import decode_base64_image
from mvcn.data.rows import MAX_CELL_CHARACTERS, Row, repeated_name, require_file
from mvcn.errors import BadImageError, DataError, reason_of
from mvcn.types import ImageFacts


@dataclass(frozen=True, slots=True)
class JsonLineImage:
    """An image as base64 text in a line of a file of JSON lines, read again when it is needed."""

    path: Path
    offset: int
    """Of the line, in bytes."""
    length: int
    """Of the line, in bytes."""
    column: str

    @property
    def facts(self) -> ImageFacts | None:
        """Nothing: the line says nothing else of its image."""
        return None

    def __str__(self) -> str:
        return f"in the line at byte {self.offset} of {self.path}"

    def read(self) -> bytes:
        """Return the bytes of the image file.

        Raises:
            BadImageError: The file was changed since its lines were read.
        """
        try:
            require_file(self.path, "JSON lines")  # a named pipe would block for ever
            with self.path.open("rb") as file:
                file.seek(self.offset)
                cell = json.loads(file.read(self.length))[self.column]
            return decode_base64_image(cell)
        except (
            DataError,
            OSError,
            ValueError,
            RecursionError,
            LookupError,
            AttributeError,
            TypeError,
        ) as error:
            raise BadImageError(
                f"Image {self} cannot be read again: was the file changed? Restore it."
            ) from error


def read_json_rows(path: Path, image_column: str) -> Iterator[Row]:
    """Yield the objects of a UTF-8 file with one JSON object a line; blank lines do not count.

    Args:
        path: The file.
        image_column: Key of the image, to read it again from its line.

    Raises:
        DataError: Not such a file; names it and the line.
    """
    require_file(path, "JSON lines")
    number, offset = 0, 0
    try:
        with path.open("rb") as file:
            for line_number, line in enumerate(iter(lambda: _next_line(file, path), b""), start=1):
                if line.strip(b" \t\r\n\xef\xbb\xbf"):
                    number += 1
                    where = f"{path}, row {number} (line {line_number})"
                    image = JsonLineImage(path, offset, len(line), image_column)
                    yield Row(_parse(line, where), number, where, image)
                offset += len(line)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason_of(error)}): check the file.") from error


def _next_line(file: Any, path: Path) -> bytes:
    line: bytes = file.readline(MAX_CELL_CHARACTERS + 1)
    if len(line) > MAX_CELL_CHARACTERS:
        raise DataError(
            f"{path} has a line of more than {MAX_CELL_CHARACTERS:,} bytes: shorten it."
        )
    return line


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_refuse)
        if b"\\ud" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()  # half a pair is no character
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not a JSON object ({_reason(error)}): mend it.") from error
    if not isinstance(row, dict):
        raise DataError(
            f'{where} is not a JSON object: write one a line, as in {{"text": ..., "label": ...}}.'
        )
    return row


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    if isinstance(error, UnicodeEncodeError):
        return f"\\u{ord(error.object[error.start]):04x} is half a character"
    return str(error)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError(f"the key {repeated_name(name for name, _ in pairs)!r} comes twice")
    return row


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no value of JSON")
