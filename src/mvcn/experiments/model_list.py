"""What there is to know of each model before it is trained."""

from typing import Any

from mvcn.experiments.published import published_results
from mvcn.models import MODELS


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
