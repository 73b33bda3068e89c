"""Settings as pydantic models and as YAML files: strict about names, types and ranges.

Each error is one sentence.
"""

import difflib
import reprlib
import sys
import typing
from collections.abc import Callable, Hashable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)
from pydantic_core import ErrorDetails

from mvcn.errors import ConfigError

TYPE_WORDS = {
    "model_type": "settings, each with a value",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "is_instance_of": "a path",
}
"""Pydantic's type of an error -> what the value must be."""


class Settings(BaseModel):
    """Base class of settings; text in the annotation of a field completes "must be"."""

    model_config = ConfigDict(
        extra="forbid", strict=True, use_attribute_docstrings=True, protected_namespaces=()
    )
    earlier_names: ClassVar[Mapping[str, str]] = {}
    """Name in an earlier version -> name."""
    shorthands: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Name -> settings that it sets at once."""


Kind = TypeVar("Kind", bound=Settings)
Content = TypeVar("Content")


def with_values(start: Kind, values: Mapping[Any, Any], where: str) -> Kind:
    """Return a checked copy of settings in which the given values replace those of `start`.

    Args:
        start: Settings, which may be the defaults.
        values: Name of a setting, its name in an earlier version, or a shorthand -> its value.
        where: Section that precedes the names in errors.

    Raises:
        ConfigError: A name that does not exist, or a value of the wrong type or range.
    """
    named = _with_current_names(type(start), values, where)
    for name, value in named.items():
        require_known(name, type(start), f"{where}.")
        before = getattr(start, name)
        if isinstance(before, Settings) and not isinstance(value, Settings):
            named[name] = _with_group(before, value, f"{where}.{name}")
    named = dict(start) | named
    try:
        return type(start).model_validate(named)
    except ValidationError as error:
        raise _invalid_value(type(start), named, error.errors()[0], where) from None


def _with_group(start: Settings, values: Any, where: str) -> Settings:
    """Return settings inside others with new values."""
    if not isinstance(values, Mapping):
        names = " or ".join(f"{where}.{name}" for name in type(start).model_fields)
        raise ConfigError(f"Setting '{where}' has settings of its own: set {names}.")
    return with_values(start, values, where)


def _with_current_names(
    kind: type[Settings], values: Mapping[Any, Any], where: str
) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key, value in values.items():
        name = kind.earlier_names.get(str(key), str(key))
        for one in kind.shorthands.get(name, (name,)):
            if one in named:
                raise ConfigError(
                    f"Setting '{where}.{one}' is set twice, once under another name: leave one of "
                    "them out."
                )
            named[one] = value
    return named


def require_known(name: str, kind: type[Settings], prefix: str) -> None:
    """Raise a ConfigError unless there is a setting of that name."""
    known = list(kind.model_fields)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        others = f"choose from {', '.join(known)}." if known else "there are none here."
        hint = f"did you mean '{prefix}{close[0]}'?" if close else others
        raise ConfigError(f"There is no setting '{prefix}{name}': {hint}")


def _invalid_value(
    kind: type[Settings], values: Mapping[str, Any], error: ErrorDetails, where: str
) -> ConfigError:
    """Return the error in words: its type for a wrong type, else the text of the annotation."""
    name, *inside = error["loc"]
    field = kind.model_fields[str(name)]
    if error["type"] in TYPE_WORDS and not inside:
        allowed = TYPE_WORDS[error["type"]]
    elif error["type"] == "literal_error" and not inside:
        allowed = f"one of {', '.join(typing.get_args(field.annotation))}"
    else:
        words = (words for words in field.metadata if isinstance(words, str))
        allowed = next(words, f"of the type {field.annotation}")
    value = reprlib.repr(values[str(name)])
    return ConfigError(f"Setting '{where}.{name}' is {value}, but must be {allowed}.")


def _as_float(value: Any) -> Any:
    """Return numbers in text as numbers: YAML 1.1 reads 5e-5 as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _as_path(value: Any) -> Any:
    return Path(value) if isinstance(value, str) and value else value


Name = Annotated[str, BeforeValidator(str)]
Number = Annotated[float, BeforeValidator(_as_float)]
FilePath = Annotated[Path, BeforeValidator(_as_path), PlainSerializer(str)]
Count = Annotated[int, Field(ge=1), "at least 1"]
CountOrZero = Annotated[int, Field(ge=0), "at least 0"]
Seed = Annotated[int, Field(ge=0, lt=2**32), "from 0 to 4294967295"]
Positive = Annotated[Number, Field(gt=0, allow_inf_nan=False), "finite and above 0"]
NonNegative = Annotated[Number, Field(ge=0, allow_inf_nan=False), "finite and at least 0"]
Share = Annotated[Number, Field(ge=0, le=1), "from 0 to 1"]
Dropout = Annotated[Number, Field(ge=0, lt=1), "at least 0 and below 1"]
Names = Annotated[list[Name], "a list of names"]
Texts = Annotated[dict[Name, str], "names, each with text"]
Values = Annotated[dict[Name, Any], "names, each with a value"]


def read_named(kind: str, folder: str, name: str, build: Callable[[Any], Content]) -> Content:
    """Read a YAML file: a shipped one by its name, or any other by its path.

    Args:
        kind: Kind of file, capitalised, for errors.
        folder: Folder of the shipped files in the package.
        name: Name of a shipped file, or a path.
        build: Converts the parsed YAML to the result.

    Raises:
        ConfigError: No such file, not YAML, or refused by `build`.
    """
    shipped = resources.files("mvcn") / folder
    known = sorted(path.name[:-5] for path in shipped.iterdir() if path.name.endswith(".yaml"))
    path = shipped / f"{name}.yaml" if name in known else Path(name)
    where = f"{kind} '{name}'"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'? Else " if close else ""
        raise ConfigError(
            f"There is no {kind.lower()} '{name}': {hint}use a YAML file or one of "
            f"{', '.join(known)}."
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where} cannot be read as text: {error}.") from error
    return build_from(text, where, build)


def build_from(text: str, where: str, build: Callable[[Any], Content]) -> Content:
    """Build from YAML text; `where` names its source in errors.

    Raises:
        ConfigError: Not YAML, or refused by `build`.
    """
    content = parse_yaml(text, where)
    try:
        return build(content)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML text; `where` names its source in errors.

    Raises:
        ConfigError: Not YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # constructors of PyYAML raise many kinds of errors
        problem = " ".join(str(error).replace('in "<unicode string>", ', "in ").split())
        raise ConfigError(f"{where} cannot be read as YAML: {problem}.") from error


class _Loader(yaml.SafeLoader):
    """Safe YAML in which no key may silently override an earlier one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"'{key.value}' is there twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    number = int(loader.construct_yaml_int(node))
    if abs(number) > sys.maxsize:
        raise ValueError(f"the whole number is too large ({number.bit_length()} bits)")
    return number


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
