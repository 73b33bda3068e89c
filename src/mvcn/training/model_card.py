"""The model card of a run: its data, model, metrics and limits, for the Hugging Face hub."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from mvcn.data.reading import TWO_WAY
from mvcn.evaluation.baselines import COLUMNS, baseline_rows
from mvcn.evaluation.metrics import INTERVAL_PERCENT, METRIC_TITLES
from mvcn.models.registry import system

TEMPLATE = "model_card.md.jinja"
TASK = "image-text-classification"
TAGS = ("mvcn", "multimodal", TASK, "sentiment-analysis")
HELD_OUT = {"out_of_fold": "out of fold", "dev": "dev"}
"""Posts that the scores are about, in the order in which they are preferred -> name for readers."""
METRICS = {"accuracy": "accuracy", "f1_weighted": "f1", "f1_macro": "f1"}
"""Metric -> its name in the front matter."""
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#&~$!])")


def model_card(
    name: str,
    config: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> str:
    """Return the card of a run as Markdown with the front matter of the Hugging Face hub.

    The licence is left to the publisher of the model, since it depends on the posts.

    Args:
        name: Name of the model, such as that of the run folder.
        config: Content of its ``config.yaml``.
        metrics: Content of its ``metrics.json``.
        environment: Content of its ``environment.json``.
    """
    held_out = next(name for name in HELD_OUT if name in metrics)
    per_class, columns = metrics[held_out]["per_class"], metrics.get("columns", {})
    body = _template().render(
        name=name,
        dataset=_dataset(config["data"]),
        columns=", ".join(f"{ours} from {theirs}" for ours, theirs in columns.items() if theirs),
        split=_split(config["data"], config["training"]["seed"], has_dev="dev" in metrics),
        held_out=held_out,
        scores=metrics[held_out],
        baselines=_baselines(metrics, held_out),
        config=config,
        encoders=_encoders(config["model"]),
        reads=_reads(config["model"]["network"]),
        metrics=metrics,
        environment=environment,
        titles={METRIC_TITLES[key]: key for key in METRICS},
        percent=INTERVAL_PERCENT,
        weakest=min(per_class, key=lambda one: per_class[one]["f1"]),
        task=TASK,
    )
    front_matter = _front_matter(name, config["data"], held_out, metrics[held_out])
    return f"---\n{front_matter}\n---\n\n{body}"


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("mvcn.training", ""),
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATE)


def _baselines(metrics: Mapping[str, Any], held_out: str) -> list[tuple[str, ...]]:
    """Return the table of the model and the baselines; empty for an earlier run."""
    found = metrics.get("baselines")
    return [("", *COLUMNS), *baseline_rows(found, metrics[held_out])] if found else []


def _front_matter(
    name: str, data: Mapping[str, Any], held_out: str, scores: Mapping[str, Any]
) -> str:
    shown = HELD_OUT[held_out]
    results = [
        EvalResult(
            task_type=TASK,
            task_name="image and text classification",
            dataset_type=data["name"],
            dataset_name=_dataset(data),
            dataset_split=shown,
            metric_type=kind,
            metric_name=f"{METRIC_TITLES[key]} ({shown})",
            metric_value=scores[key],
        )
        for key, kind in METRICS.items()
    ]
    about = ModelCardData(
        library_name="mvcn",
        pipeline_tag="other",  # the hub has no such task; the tags name it
        tags=list(TAGS),
        metrics=sorted(set(METRICS.values())),
        model_name=name,
        eval_results=results,
    )
    return str(about.to_yaml()).strip()


def _dataset(data: Mapping[str, Any]) -> str:
    """Return the name of the dataset, without paths on the user's machine."""
    files = [Path(data[key]).name for key in ("train", "dev", "root") if data[key] is not None]
    return f"{data['name']} ({', '.join(files)})" if files else str(data["name"])


def _split(data: Mapping[str, Any], seed: int, *, has_dev: bool) -> str:
    """Return a sentence on how the posts were split."""
    if not has_dev:
        return "All labelled posts are train posts."
    if data["train"] is not None and data["dev"] is not None:
        return "Train and dev posts are two datasets."
    if data["train"] is not None:
        return f"The dev posts are a share of the dataset: {_shares(TWO_WAY)}, seed {seed}."
    if data["fold"] is not None:
        return f"Published fold {data['fold']} says which posts are train, dev and test."
    if data["splits"] is not None:
        return "Lists of ids say which posts are train and which are dev."
    return (
        "The splits are those that the dataset itself names; where it names none, "
        f"{_shares(TWO_WAY)}, seed {seed}."
    )


def _shares(splits: Mapping[str, float]) -> str:
    shares = ", ".join(f"{split} {100 * share:.0f} %" for split, share in splits.items())
    return f"{shares}, each class alike"


def _reads(network: str) -> str:
    """Return a sentence on which modalities the network reads."""
    about = system(network)
    if not about.reads_image:
        return "It reads only the text."
    if "text" not in about.reads:
        return "It reads only the image."
    return "The text or the image of a post may be missing."


def _encoders(model: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the encoders, without paths on the user's machine."""
    named = {"text": model["text_encoder"], "image": model["image_encoder"]}
    if model["attribute_model"] is not None:
        named["image attributes"] = model["attribute_model"]
    return {kind: Path(one).name if Path(one).is_dir() else one for kind, one in named.items()}


def _plain(value: object) -> object:
    """Escape a text so that it is not read as Markdown or HTML."""
    if not isinstance(value, str):
        return value
    return MARKDOWN.sub(r"\\\1", " ".join(value.split()))
