"""What others have published of themselves and of others."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from mvcn.config_files import parse_yaml

SHARED = ("which", "split")
"""What holds for all systems of a data set that do not say otherwise."""


def published_results() -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return data set -> system -> accuracy and F1 in percent, which F1, and of which split."""
    text = (resources.files("mvcn") / "experiments" / "published.yaml").read_text("utf-8")
    return {
        data: {
            name: {key: about[key] for key in SHARED} | result
            for name, result in about["systems"].items()
        }
        for data, about in parse_yaml(text, "published.yaml").items()
    }
