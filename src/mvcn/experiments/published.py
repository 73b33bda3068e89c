"""Results that papers report, from published.yaml."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

SHARED = ("which", "split")
"""Keys of published results that a dataset gives for all systems that do not give their own."""


def published_results() -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return dataset -> system -> accuracy and F1 in percent, which F1, and of which split."""
    text = (resources.files("mvcn") / "experiments" / "published.yaml").read_text("utf-8")
    return {
        data: {
            name: {key: about[key] for key in SHARED} | result
            for name, result in about["systems"].items()
        }
        for data, about in yaml.safe_load(text).items()
    }
