"""The demonstration: train on generated posts, and measure where the attention looks."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any, cast, get_args

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor
from transformers import set_seed

from mvcn.config import RunConfig, read_recipe
from mvcn.data.datasets.mvsa import merge_labels
from mvcn.data.posts import label_ids
from mvcn.data.synthetic import (
    CELL_PX,
    GRID_CELLS,
    LABEL_PAIR_SHARES,
    PATCH_CELLS,
    GeneratedPost,
    generate_posts,
    write_table,
)
from mvcn.evaluation.metrics import evaluate_predictions
from mvcn.explain.figures import cells, png, show_image, show_weights
from mvcn.explain.observation import Observation, mean_attention, observe
from mvcn.explain.run import TrainedRun
from mvcn.explain.saliency import (
    AttentionOnRegion,
    cover_shares,
    hit_rates,
    measure_attention,
    num_image_tokens,
)
from mvcn.files import write_json
from mvcn.inputs.batches import EncodedPosts, PostEncoder
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models.build import build_model
from mvcn.models.classification import MvcnForClassification
from mvcn.outputs import remove_contents, require_output_folder
from mvcn.report.run_page import write_report
from mvcn.training.environment import describe_environment
from mvcn.training.run import train
from mvcn.types import AttentionKind, Post

ATTENTIONS: tuple[AttentionKind, ...] = get_args(AttentionKind)
RECIPE = "single"
MARKER = "demo.json"
POSTS, FIGURE, NUMBERS, PAGE = "posts", "attention.png", "report.json", "report.html"
FORMER_REPORT = "report.md"
"""Also written by earlier versions."""
CONTENTS = (POSTS, *ATTENTIONS, FIGURE, FORMER_REPORT, NUMBERS, PAGE, MARKER)
IMAGE_PX = GRID_CELLS * CELL_PX
NORMAL_95 = 1.96
"""Half of the width of a 95 % interval, in standard errors."""
PANEL_INCHES, DPI = 2.1, 110
TITLE_CHARACTERS, MAX_TITLE_LINES = 27, 4
OUTLINE = "#0057d9"


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """Sizes, seed and settings of a demonstration."""

    train_posts: int = 640
    dev_posts: int = 200
    seed: int = 0
    """Of the posts, and of both trainings."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Changes to the recipe, section by section."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Results of one trained model on the dev posts."""

    observations: Sequence[Observation]
    measures: Sequence[AttentionOnRegion]
    numbers: Mapping[str, Any]


def run_demo(
    output: Path,
    plan: DemoPlan | None = None,
    *,
    overwrite: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train the recipe `single` with sparsemax and with softmax attention, and compare both.

    Args:
        output: Folder for posts, run folders, figure and page; new, empty, or with `overwrite`
            an earlier demonstration.
        plan: Sizes, seed and settings.
        overwrite: Replace an earlier demonstration, but no other files.
        tell: Called with each line of progress.

    Returns:
        The content of ``report.json``.

    Raises:
        RunError: The folder has other content.
    """
    started, cpu_started = time.monotonic(), time.process_time()
    plan = plan or DemoPlan()
    create_demo_folder(output, plan, overwrite=overwrite)
    tell(f"Generating {plan.train_posts} training and {plan.dev_posts} dev posts.")
    dev = _write_posts(output / POSTS, plan)
    findings: dict[str, Finding] = {}
    for attention in ATTENTIONS:
        tell(f"Training the {RECIPE} recipe with {attention} attention.")
        findings[attention] = _train_and_measure(output, plan, attention, dev)
    tell("Writing the report.")
    numbers = _numbers(findings, plan)
    chosen = _choose_for_figure(dev)
    maps = {name: [finding.observations[i] for i in chosen] for name, finding in findings.items()}
    figure = _draw_attention([dev[i] for i in chosen], maps)
    (output / FIGURE).write_bytes(figure)
    numbers["seconds"] = {
        "wall": round(time.monotonic() - started, 1),
        "processor": round(time.process_time() - cpu_started, 1),
    }
    numbers["environment"] = describe_environment()
    write_json(output / NUMBERS, numbers)
    write_report(TrainedRun(output / ATTENTIONS[0]), output / PAGE, numbers, figure)
    return numbers


def create_demo_folder(folder: Path, plan: DemoPlan, *, overwrite: bool) -> None:
    """Create the folder of a demonstration, or raise a RunError.

    Only files of an earlier demonstration are removed, its marker last.
    """
    is_own = (folder / MARKER).is_file()
    require_output_folder(folder, "demo", is_own=is_own, overwrite=overwrite)
    remove_contents(folder, CONTENTS)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARKER, dataclasses.asdict(plan))


def _write_posts(folder: Path, plan: DemoPlan) -> list[GeneratedPost]:
    """Write the tables of train and dev posts; return the dev posts with their patches."""
    posts = generate_posts(plan.train_posts + plan.dev_posts, plan.seed)
    train_posts, dev_posts = posts[: plan.train_posts], posts[plan.train_posts :]
    write_table(train_posts, folder / "train")
    write_table(dev_posts, folder / "dev")
    return dev_posts


def _config(posts: Path, plan: DemoPlan, attention: AttentionKind) -> RunConfig:
    config = read_recipe(RECIPE)
    config.update(plan.settings)
    tables = {split: posts / split / "posts.csv" for split in ("train", "dev")}
    config.update({"data": tables, "model": {"attention": attention}})
    config.update({"training": {"seed": plan.seed, "export": False}})
    return config


def _train_and_measure(
    output: Path, plan: DemoPlan, attention: AttentionKind, dev: Sequence[GeneratedPost]
) -> Finding:
    """Train a model, evaluate it with and without images, and measure its attention to patches."""
    config = _config(output / POSTS, plan, attention)
    run = train(config, output / attention)
    model, processor = run.model, run.processor
    posts = [one.post for one in dev]
    encoded = PostEncoder.for_model(model, processor).encode(posts)
    observations = list(observe(model, encoded))
    measures = _on_patches(observations, dev)
    imageless = [dataclasses.replace(post, image=None) for post in posts]
    set_seed(plan.seed)
    untrained = build_model(config.model, model.class_names, unimodal_label_head=True)
    control = _on_patches(_observe(untrained, processor, posts), dev)
    numbers = {
        "dev": run.metrics["dev"],
        "dev_without_images": _evaluate(
            _observe(model, processor, imageless), posts, model.class_names
        ),
        "attention": _attention_by_need(measures, posts) | {"untrained": summarize(control)},
        "pointing": hit_rates(model, encoded, _regions_that_decide(dev, model, encoded)),
        "epochs": run.metrics["epochs"],
        "seconds": run.metrics["seconds"],
    }
    return Finding(observations, measures, numbers)


def _observe(
    model: MvcnForClassification, processor: MvcnProcessor, posts: Sequence[Post]
) -> list[Observation]:
    return list(observe(model, PostEncoder.for_model(model, processor).encode(posts)))


def _evaluate(
    observations: Sequence[Observation], posts: Sequence[Post], class_names: tuple[str, ...]
) -> dict[str, Any]:
    rows = np.stack([seen.probabilities for seen in observations])
    labels = np.array(label_ids(posts, class_names))
    return evaluate_predictions(rows, labels, class_names).to_mapping()


def _numbers(findings: Mapping[str, Finding], plan: DemoPlan) -> dict[str, Any]:
    """Return the numbers of both models, and those of chance and of text alone."""
    by_post = [[one.mass for one in finding.measures] for finding in findings.values()]
    differences = [first - second for first, second in zip(*by_post, strict=True)]
    weights = next(iter(findings.values())).observations[0].weights
    assert weights is not None  # text-guided units have them
    return {
        "recipe": RECIPE,
        "seed": plan.seed,
        "posts": {"train": plan.train_posts, "dev": plan.dev_posts},
        "chance": {
            "mass": _chance_mass(weights.shape[-1]),
            "accuracy_from_text_alone": sum(
                share for pair, share in LABEL_PAIR_SHARES.items() if merge_labels(*pair) == pair[0]
            ),
        },
        "models": {name: finding.numbers for name, finding in findings.items()},
        "mass_sparsemax_minus_softmax": mean_over_posts(differences),
    }


def _on_patches(
    observations: Sequence[Observation], posts: Sequence[GeneratedPost]
) -> list[AttentionOnRegion]:
    """Return the attention of each post to its patch."""
    measures = []
    for seen, generated in zip(observations, posts, strict=True):
        assert seen.weights is not None  # text-guided units have them
        region = cover_shares(generated.patch_box_px, IMAGE_PX, seen.weights.shape[-1])
        measures.append(measure_attention(seen.weights, region))
    return measures


def summarize(measures: Sequence[AttentionOnRegion]) -> dict[str, Any]:
    """Return the means over posts as plain values."""
    return {
        "mass": mean_over_posts([measure.mass for measure in measures]),
        "hit_rate": statistics.fmean(measure.is_hit for measure in measures),
        "zeros": statistics.fmean(measure.zeros for measure in measures),
        "posts": len(measures),
    }


def mean_over_posts(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, sample standard deviation (0 of one post) and 95 % interval of the mean.

    The interval is a normal approximation over posts, for one training.
    """
    mean = statistics.mean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    margin = NORMAL_95 * deviation / math.sqrt(len(values))
    return {"mean": mean, "deviation": deviation, "interval": (mean - margin, mean + margin)}


def _chance_mass(num_patches: int) -> float:
    """Return the share of all image tokens that a patch covers, wherever it is."""
    anywhere = (0, 0, PATCH_CELLS * CELL_PX, PATCH_CELLS * CELL_PX)
    return float(cover_shares(anywhere, IMAGE_PX, num_patches).mean())


def _attention_by_need(
    measures: Sequence[AttentionOnRegion], posts: Sequence[Post]
) -> dict[str, Any]:
    """Summarize all posts, and separately those where the image or the text decides the label."""
    groups: dict[str, list[AttentionOnRegion]] = {
        "all": list(measures),
        "image_decides": [],
        "text_decides": [],
    }
    for measure, post in zip(measures, posts, strict=True):
        is_needed = _image_decides(cast(str, post.text_label))
        groups["image_decides" if is_needed else "text_decides"].append(measure)
    return {name: summarize(group) for name, group in groups.items() if group}


def _regions_that_decide(
    dev: Sequence[GeneratedPost], model: MvcnForClassification, encoded: EncodedPosts
) -> dict[int, Tensor]:
    """Return the patch of each post whose label the text leaves to the image."""
    num_tokens = num_image_tokens(model, encoded.inputs([0]))
    return {
        position: cover_shares(one.patch_box_px, IMAGE_PX, num_tokens)
        for position, one in enumerate(dev)
        if _image_decides(cast(str, one.post.text_label))
    }


def _image_decides(text_label: str) -> bool:
    """Return whether posts with such a text can have different labels."""
    labels = {merge_labels(*pair) for pair in LABEL_PAIR_SHARES if pair[0] == text_label}
    return len(labels) > 1


def _choose_for_figure(dev: Sequence[GeneratedPost]) -> list[int]:
    """Return the first dev post of each pair of labels, first those where the image decides."""
    pairs = [(one.post.text_label, one.post.image_label) for one in dev]
    first = [pairs.index(pair) for pair in LABEL_PAIR_SHARES if pair in pairs]
    return sorted(first, key=lambda i: not _image_decides(cast(str, dev[i].post.text_label)))


def _draw_attention(
    posts: Sequence[GeneratedPost], observations: Mapping[str, Sequence[Observation]]
) -> bytes:
    """Return a PNG with a column for each post: its image, and the attention of each model."""
    rows = 1 + len(observations)
    size = (PANEL_INCHES * len(posts) + 1.2, PANEL_INCHES * rows + 1.1)
    figure = Figure(figsize=size, dpi=DPI, layout=ConstrainedLayoutEngine(h_pad=0.08))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(posts), squeeze=False)
    weights = [[_mean_weights(seen) for seen in group] for group in observations.values()]
    peak = max(float(cells(one).max()) for group in weights for one in group)
    for column, post in enumerate(posts):
        pixels = _show_post(axes[0, column], post)
        for axis, group, name in zip(axes[1:, column], weights, observations, strict=True):
            heat = show_weights(axis, pixels, group[column], peak)
            (measure,) = _on_patches([observations[name][column]], [post])
            axis.set_xlabel(f"{100 * measure.mass:.0f} % on the patch", fontsize=8)
            _outline(axis, post)
    for row, name in enumerate(("post", *observations)):
        axes[row, 0].set_ylabel(name, fontsize=12)
    bar = figure.colorbar(heat, ax=axes[1:, :].ravel().tolist(), shrink=0.8, pad=0.01)
    bar.set_label("attention weight of the cell", fontsize=9)
    return png(figure)


def _mean_weights(seen: Observation) -> Tensor:
    assert seen.weights is not None  # text-guided units have them
    return mean_attention(seen.weights)


def _show_post(axis: Any, generated: GeneratedPost) -> np.ndarray:
    """Show a post's image with its text and labels; return the pixels."""
    post = generated.post
    with Image.open(BytesIO(cast(bytes, post.image))) as image:
        pixels: np.ndarray = np.asarray(image.convert("RGB")) / 255
    show_image(axis, pixels)
    _outline(axis, generated)
    text = fill(post.text, TITLE_CHARACTERS, max_lines=MAX_TITLE_LINES, placeholder=" …")
    axis.set_title(text, fontsize=8.5, loc="left", parse_math=False)
    labels = f"text {post.text_label}, image {post.image_label}"
    axis.set_xlabel(f"{labels}:\n{post.label}", fontsize=8)
    return pixels


def _outline(axis: Any, generated: GeneratedPost) -> None:
    left, top, right, bottom = generated.patch_box_px
    box = Rectangle((left, top), right - left, bottom - top)
    box.set(fill=False, edgecolor=OUTLINE, linewidth=2)
    axis.add_patch(box)
