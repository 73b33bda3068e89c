"""Rows of JSON lines, one object a line, or of a JSON list of objects."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from mvcn.data.base64_images import decode_base64_image
from mvcn.data.formats.rows import (
    MAX_CELL_CHARACTERS,
    SAMPLE_ROWS,
    Row,
    Table,
    TableOptions,
    number_repeated,
    read_bytes,
    require_file,
    spread,
)
from mvcn.data.text import decode, marked_codec
from mvcn.errors import BadImageError, DataError, reason_of
from mvcn.types import StoredImage

BLANK = b" \t\r\n\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class JsonLineImage(StoredImage):
    """An image as base64 text in a line of a file of JSON lines, read again when it is needed."""

    path: Path
    offset: int
    """Of the line, in bytes."""
    length: int
    """Of the line, in bytes."""
    column: str

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


class _Object(dict[str, Any]):
    """An object whose keys may come repeatedly, which matters only for those that are read."""

    repeated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of JSON; where it is in its file, unless that has another encoding than UTF-8."""

    content: str | bytes
    where: str
    offset: int | None = None


def open_json_lines(path: Path, options: TableOptions) -> Table:
    """Read a file with one JSON object a line; blank lines do not count.

    Its images are left where they are, if it is UTF-8.

    Raises:
        ConfigError: There is no such encoding.
        DataError: Not such a file; names it and the line.
    """
    require_file(path, "JSON lines")
    columns: dict[str, None] = {}
    for line in _lines(path, options.encoding):
        columns |= dict.fromkeys(_parse(line))  # any line may have a key that others have not
    sample = partial(_sample, path, options.encoding)
    return Table(tuple(columns), sample, partial(_rows, path, options.encoding))


def open_json(path: Path, options: TableOptions) -> Table:
    """Read a file with a JSON list of objects, or with one object a line.

    Raises:
        ConfigError: There is no such encoding.
        DataError: Not such a file; names it and, where there is one, the row.
    """
    text, _ = decode(read_bytes(path, "JSON"), path, options.encoding)
    if not text.lstrip().startswith("["):
        return open_json_lines(path, options)
    objects = _loads(text, str(path))
    for number, row in enumerate(objects, start=1):
        _require_object(row, f"{path}, row {number}")
    columns = tuple(dict.fromkeys(name for row in objects for name in row))
    return Table(columns, lambda: spread(objects), partial(_rows_of_list, path, objects))


def _rows_of_list(
    path: Path, objects: list[_Object], names: Mapping[str, str] | None
) -> Iterator[Row]:
    for number, cells in enumerate(objects, start=1):
        _require_read_once(cells, names, where := f"{path}, row {number}")
        yield Row(cells, number, where)


def _rows(path: Path, encoding: str | None, names: Mapping[str, str] | None) -> Iterator[Row]:
    for number, line in enumerate(_lines(path, encoding), start=1):
        cells = _parse(line)
        _require_read_once(cells, names, line.where)
        image = None
        if line.offset is not None:
            image = JsonLineImage(
                path, line.offset, len(line.content), (names or {}).get("image", "")
            )
        yield Row(cells, number, line.where, image)


def _sample(path: Path, encoding: str | None) -> Iterator[_Object]:
    return (_parse(line) for line in islice(_lines(path, encoding), SAMPLE_ROWS))


def _lines(path: Path, encoding: str | None) -> Iterator[_Line]:
    """Yield the lines that are not blank."""
    try:
        with path.open("rb") as file:
            mark = file.read(4)
            if encoding is not None or marked_codec(mark) not in (None, "utf-8-sig"):
                yield from _decoded_lines(path, encoding)
                return
            file.seek(0)
            yield from _stored_lines(file, path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason_of(error)}): check the file.") from error


def _decoded_lines(path: Path, encoding: str | None) -> Iterator[_Line]:
    row = 0
    text, _ = decode(read_bytes(path, "JSON lines"), path, encoding)
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            row += 1
            yield _Line(line, f"{path}, row {row} (line {number})")


def _stored_lines(file: Any, path: Path) -> Iterator[_Line]:
    row, offset = 0, 0
    for number, line in enumerate(iter(lambda: _next_line(file, path), b""), start=1):
        if line.strip(BLANK):
            row += 1
            yield _Line(line, f"{path}, row {row} (line {number})", offset)
        offset += len(line)


def _next_line(file: Any, path: Path) -> bytes:
    line: bytes = file.readline(MAX_CELL_CHARACTERS + 1)
    if len(line) > MAX_CELL_CHARACTERS:
        raise DataError(
            f"{path} has a line of more than {MAX_CELL_CHARACTERS:,} bytes: shorten it."
        )
    return line


def _parse(line: _Line) -> _Object:
    text = line.content
    if isinstance(text, bytes):
        text = _decoded(text, line.where)
    row = _loads(text, line.where)
    _require_object(row, line.where)
    parsed: _Object = row
    return parsed


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return decode(content, where)[0]  # says what would read it


def _loads(text: str, where: str) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where} is not a JSON object ({reason_of(error)}): correct it."
        ) from error


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    row = _Object(pairs)
    if len(row) < len(pairs):
        _, row.repeated = number_repeated([name for name, _ in pairs])
    return row


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _require_object(row: Any, where: str) -> None:
    if not isinstance(row, _Object):
        raise DataError(
            f'{where} is not a JSON object: write one a line, as in {{"text": ..., "label": ...}}.'
        )


def _require_read_once(row: _Object, names: Mapping[str, str] | None, where: str) -> None:
    for key in row.repeated.intersection((names or {}).values()):
        raise DataError(f"{where}: the key {key!r} comes twice: delete one of them.")
