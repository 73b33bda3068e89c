"""YAML as people mean it: shipped with the package or a user's own, and no key twice."""

import sys
from collections.abc import Callable, Hashable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml

from mvcn.errors import ConfigError

Content = TypeVar("Content")


def read_named(kind: str, folder: str, name: str, build: Callable[[Any], Content]) -> Content:
    """Read a YAML file that is shipped, by its name, or any other by its path.

    Args:
        kind: What the file is, as a sentence begins.
        folder: Where the package has its own.
        name: Name of one that is shipped, else a path.
        build: Makes what is returned of what the YAML holds.

    Raises:
        ConfigError: No such file, not YAML, or not what `build` can take.
    """
    shipped = resources.files("mvcn") / folder
    known = sorted(path.name[:-5] for path in shipped.iterdir() if path.name.endswith(".yaml"))
    path = shipped / f"{name}.yaml" if name in known else Path(name)
    where = f"{kind} '{name}'"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"No {kind.lower()} '{name}': give a YAML file or one of {', '.join(known)}."
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where} cannot be read as text: {error}.") from error
    return build_from(text, where, build)


def build_from(text: str, where: str, build: Callable[[Any], Content]) -> Content:
    """Build from what YAML text holds; `where` names its source in errors.

    Raises:
        ConfigError: Not YAML, or not what `build` can take.
    """
    content = parse_yaml(text, where)
    try:
        return build(content)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def parse_yaml(text: str, where: str) -> Any:
    """Return what YAML text holds; `where` names its source in errors.

    Raises:
        ConfigError: Not YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # PyYAML lets many errors of its constructors through
        problem = " ".join(str(error).split())
        raise ConfigError(f"{where} cannot be read as YAML: {problem}.") from error


class _Loader(yaml.SafeLoader):
    """Safe YAML in which no key may silently override an earlier one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"'{key.value}' is given twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    number = int(loader.construct_yaml_int(node))
    if abs(number) > sys.maxsize:
        raise ValueError(f"a whole number of {number.bit_length()} bits is too large")
    return number


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
