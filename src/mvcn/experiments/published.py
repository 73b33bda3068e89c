"""What is known of each model before it is trained: inputs, options, published results."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from mvcn.models import MODELS
from mvcn.settings import parse_yaml

SHARED = ("which", "split")
"""What holds for all systems of a dataset that do not say otherwise."""


def published_results() -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return dataset -> system -> accuracy and F1 in percent, which F1, and of which split."""
    text = (resources.files("mvcn") / "experiments" / "published.yaml").read_text("utf-8")
    return {
        data: {
            name: {key: about[key] for key in SHARED} | result
            for name, result in about["systems"].items()
        }
        for data, about in parse_yaml(text, "published.yaml").items()
    }


def list_models() -> list[dict[str, Any]]:
    """Return name, inputs, source, published results and options (with defaults) of each model."""
    results = published_results()
    return [
        {
            "name": name,
            "inputs": list(about.reads),
            "source": about.source,
            "published": {
                data: systems[about.published]
                for data, systems in results.items()
                if about.published in systems
            },
            "options": about.options().model_dump(),
        }
        for name, about in MODELS.items()
    ]
