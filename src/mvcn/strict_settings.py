"""Settings in dataclasses, filled from plain mappings, strict about names, types and ranges."""

import dataclasses
import difflib
import reprlib
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar

from mvcn.errors import ConfigError

Options = TypeVar("Options")


class Range(NamedTuple):
    """The numbers that a setting allows, beside the type in its annotation."""

    words: str
    """Completes "must be"."""
    allows: Callable[[float], bool]


def read_options(kind: type[Options], values: Mapping[str, Any], where: str) -> Options:
    """Return a dataclass with the values that a mapping gives to its fields.

    Args:
        kind: A dataclass of settings, each with a default.
        values: Name of a field -> its value.
        where: What goes before the names in errors.

    Raises:
        ConfigError: A key that does not exist, or a value of the wrong type or range.
    """
    options = kind()
    for key, value in values.items():
        set_field(options, where, str(key), value)
    require_ranges(options, where)
    return options


def require_known(name: str, config: Any, prefix: str) -> None:
    """Raise a ConfigError unless a dataclass has a field of that name."""
    known = [f.name for f in dataclasses.fields(config)]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        others = f"known are {', '.join(known)}." if known else "there is none to set here."
        hint = f"did you mean '{prefix}{close[0]}'?" if close else others
        raise ConfigError(f"There is no setting '{prefix}{name}': {hint}")


def set_field(config: Any, section: str, key: str, value: Any) -> None:
    """Set a field to a plain value, or raise a ConfigError that names the setting."""
    require_known(key, config, prefix=f"{section}.")
    expected = typing.get_type_hints(type(config))[key]
    setattr(config, key, _coerce(value, expected, f"{section}.{key}"))


def require_ranges(config: Any, section: str) -> None:
    """Raise a ConfigError where a number is out of the range in its annotation."""
    for key, annotation in typing.get_type_hints(type(config), include_extras=True).items():
        for allowed in getattr(annotation, "__metadata__", ()):
            if not allowed.allows(getattr(config, key)):
                raise _refusal(f"{section}.{key}", getattr(config, key), allowed.words)


def _coerce(value: Any, expected: Any, name: str) -> Any:
    """Return `value` as the annotated type `expected`, or raise a ConfigError naming the field."""
    is_union = typing.get_origin(expected) in (typing.Union, UnionType)
    options = typing.get_args(expected) if is_union else (expected,)
    for option in options:
        fitting = _convert(value, option)
        if fitting is not _UNFIT:
            return fitting
    raise _refusal(name, value, _name_of(options))


_UNFIT = object()


def _convert(value: Any, option: Any) -> Any:
    """Return `value` as the one type `option`, or `_UNFIT`."""
    kind, arguments = typing.get_origin(option) or option, typing.get_args(option)
    if kind is Any:
        return value
    if kind is Literal:
        return value if value in arguments else _UNFIT
    if kind is dict:
        return _convert_mapping(value, arguments[1])
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    if kind is float and type(value) in (str, int):
        value = _as_float(value)
    is_bool_for_number = type(value) is bool and kind is not bool
    return value if isinstance(value, kind) and not is_bool_for_number else _UNFIT


def _convert_mapping(value: Any, option: Any) -> Any:
    if not isinstance(value, Mapping):
        return _UNFIT
    converted = {str(key): _convert(part, option) for key, part in value.items()}
    return _UNFIT if any(part is _UNFIT for part in converted.values()) else converted


def _as_float(value: str | int) -> Any:
    """YAML 1.1 reads 5e-5 as text; take it as the number that the writer meant."""
    try:
        return float(value)
    except (OverflowError, ValueError):
        return value


def _refusal(name: str, value: Any, allowed: str) -> ConfigError:
    return ConfigError(f"Setting '{name}' is {reprlib.repr(value)}, but must be {allowed}.")


def _name_of(options: Iterable[Any]) -> str:
    return " or ".join(_words_for(option) for option in options if option is not NoneType)


def _words_for(option: Any) -> str:
    if typing.get_origin(option) is Literal:
        return f"one of {', '.join(typing.get_args(option))}"
    if typing.get_origin(option) is dict:
        return f"names, each with {_words_for(typing.get_args(option)[1])}"
    if option is Any:
        return "a value"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return words.get(option, "a path")
