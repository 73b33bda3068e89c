"""JSON lines, one object per line, read and written, and JSON lists of objects, read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from mvcn.data.formats.rows import (
    MAX_CELL_CHARACTERS,
    SAMPLE_ROWS,
    Row,
    Table,
    TableOptions,
    WriteRow,
    json_text,
    number_repeated,
    read_bytes,
    require_file,
    spread,
)
from mvcn.data.image_references import decode_base64_image
from mvcn.data.row_errors import RowErrors
from mvcn.data.text import decode, marked_codec
from mvcn.errors import BadImageError, DataError, reason_of
from mvcn.files import atomic_write
from mvcn.types import StoredImage

BLANK = b" \t\r\n\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class JsonLineImage(StoredImage):
    """An image as base64 text in a file of JSON lines, read on demand."""

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
            BadImageError: The file has changed since its lines were read.
        """
        try:
            require_file(self.path, "JSON lines")  # a named pipe would block for ever
            with self.path.open("rb") as file:
                file.seek(self.offset)
                cell = json.loads(file.read(self.length))[self.column]
            return decode_base64_image(cell)
        except (
            *(DataError, OSError, ValueError, RecursionError),
            *(LookupError, AttributeError, TypeError),
        ) as error:
            raise BadImageError(
                f"Image {self} cannot be read because the file has changed: run the command again."
            ) from error


class _Object(dict[str, Any]):
    """An object that may have repeated keys, which are an error only if they are read."""

    repeated: frozenset[str] = frozenset()

    def row(
        self,
        number: int,
        where: str,
        names: Mapping[str, str] | None,
        image: JsonLineImage | None = None,
    ) -> Row:
        """Return the row; raises a DataError if a key that is read is repeated."""
        for key in self.repeated.intersection((names or {}).values()):
            raise DataError(f"{where}: the key {key!r} occurs twice: delete one of the two.")
        return Row(self, number, where, image)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of JSON, with its offset in bytes if the file is UTF-8."""

    content: str | bytes
    where: str
    offset: int | None


def open_json_lines(path: Path, options: TableOptions) -> Table:
    """Read a file with one JSON object per line, ignoring blank lines.

    Images are not kept in memory if the file is UTF-8.

    Raises:
        ConfigError: There is no such encoding.
        DataError: The file is invalid; names it and its first bad lines.
    """
    require_file(path, "JSON lines")
    columns: dict[str, None] = {}
    errors = RowErrors(str(path))
    for line in _lines(path, options.encoding):
        with errors.collect():
            columns |= dict.fromkeys(_parse(line))  # any line may have a new key
    errors.require_none()
    return Table(
        tuple(columns),
        lambda: map(_parse, islice(_lines(path, options.encoding), SAMPLE_ROWS)),
        partial(_rows, path, options.encoding),
    )


def open_json(path: Path, options: TableOptions) -> Table:
    """Read a file with a JSON list of objects, or with one object per line.

    Raises:
        ConfigError: There is no such encoding.
        DataError: The file is invalid; names it and its first bad rows.
    """
    text, _ = decode(read_bytes(path, "JSON"), path, options.encoding)
    if not text.lstrip().startswith("["):
        _require_no_table(text, path)
        return open_json_lines(path, options)
    objects: list[_Object] = []
    errors = RowErrors(str(path))
    for number, row in enumerate(_loads(text, str(path)), start=1):
        with errors.collect():
            objects.append(_require_object(row, f"{path}, row {number}"))
    errors.require_none()
    columns = tuple(dict.fromkeys(name for row in objects for name in row))

    def rows(names: Mapping[str, str] | None) -> Iterator[Row]:
        errors = RowErrors(str(path))
        for number, one in enumerate(objects, start=1):
            with errors.collect():
                yield one.row(number, f"{path}, row {number}", names)
        errors.require_none()

    return Table(columns, lambda: spread(objects), rows)


def _require_no_table(text: str, path: Path) -> None:
    """Raise a DataError for one object that holds all rows, in a list or by columns."""
    try:
        whole = DECODER.decode(text)
    except (ValueError, RecursionError):
        return
    values = [*whole.values()] if isinstance(whole, dict) else []
    lists = [name for name, value in whole.items() if _is_list_of_objects(value)] if values else []
    if lists:
        raise DataError(
            f"{path} holds its rows in {lists[0]!r}: write this list alone to the file, as in "
            '[{"text": "...", "label": "..."}].'
        )
    if values and all(isinstance(value, dict | list) for value in values):
        raise DataError(
            f"{path} is one object, and not a list of rows: write it anew, from pandas with "
            "to_json(path, orient='records')."
        )


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


@contextmanager
def json_lines_writer(path: Path, columns: Sequence[str]) -> Iterator[WriteRow]:
    """Open a file of JSON lines for writing; cells keep their types, see `json_text`."""
    with atomic_write(path) as file:

        def write(cells: Sequence[Any]) -> None:
            file.write(json_text(dict(zip(columns, cells, strict=True))) + "\n")

        yield write


def json_lines_keys(path: Path) -> list[str]:
    """Return the keys of the first object; raises a ValueError if there is none."""
    with path.open("rb") as file:
        first = json.loads(file.readline(MAX_CELL_CHARACTERS))
    return list(first) if isinstance(first, dict) else []


def _rows(path: Path, encoding: str | None, names: Mapping[str, str] | None) -> Iterator[Row]:
    column = (names or {}).get("image", "")
    errors = RowErrors(str(path))
    for number, line in enumerate(_lines(path, encoding), start=1):
        image = None
        if line.offset is not None:
            image = JsonLineImage(path, line.offset, len(line.content), column)
        with errors.collect():
            yield _parse(line).row(number, line.where, names, image)
    errors.require_none()


def _lines(path: Path, encoding: str | None) -> Iterator[_Line]:
    """Yield the lines that are not blank."""
    row = 0
    for number, (content, offset) in enumerate(_contents(path, encoding), start=1):
        if content.strip(BLANK) if isinstance(content, bytes) else content.strip():
            row += 1
            yield _Line(content, f"{path}, row {row} (line {number})", offset)


def _contents(path: Path, encoding: str | None) -> Iterator[tuple[str | bytes, int | None]]:
    """Yield all lines, with the offset of each in bytes if the file is UTF-8."""
    try:
        with path.open("rb") as file:
            if encoding is None and marked_codec(file.read(4)) in (None, "utf-8-sig"):
                file.seek(0)
                while line := _next_line(file, path):
                    yield line, file.tell() - len(line)
                return
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason_of(error)}): check the file.") from error
    text, _ = decode(read_bytes(path, "JSON lines"), path, encoding)
    yield from ((line, None) for line in text.split("\n"))


def _next_line(file: BinaryIO, path: Path) -> bytes:
    line = file.readline(MAX_CELL_CHARACTERS + 1)
    if len(line) > MAX_CELL_CHARACTERS:
        raise DataError(
            f"{path} has a line of more than {MAX_CELL_CHARACTERS:,} bytes: shorten it."
        )
    return line


def _parse(line: _Line) -> _Object:
    text = line.content
    if isinstance(text, bytes):
        text = _decoded(text, line.where)
    return _require_object(_loads(text, line.where), line.where)


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return decode(content, where)[0]  # raises an error that suggests a codec


def _loads(text: str, where: str) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where} is not a JSON object ({reason_of(error)}): write one per line, as in "
            '{"text": "...", "label": "..."}.'
        ) from error


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    row = _Object(pairs)
    if len(row) < len(pairs):
        _, row.repeated = number_repeated([name for name, _ in pairs])
    return row


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _require_object(row: Any, where: str) -> _Object:
    if isinstance(row, _Object):
        return row
    raise DataError(
        f'{where} is not a JSON object: write one per line, as in {{"text": "...", "label": '
        '"..."}.'
    )
