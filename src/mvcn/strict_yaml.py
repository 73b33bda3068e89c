"""YAML as people mean it: safe, no key twice, and one sentence about what cannot be read."""

import sys
from collections.abc import Hashable
from typing import Any

import yaml

from mvcn.errors import ConfigError


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
