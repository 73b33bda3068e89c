"""The demonstration's report: a page of tables and one figure, both made from its numbers."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any, cast

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image

from mvcn.data.synthetic import GeneratedPost
from mvcn.experiments.attention_mass import measure_observations
from mvcn.explain.observation import Observation, mean_attention
from mvcn.files import atomic_write

PERCENT = 100
PANEL_INCHES = 2.1
DPI = 110
TITLE_CHARACTERS = 27
MAX_TITLE_LINES = 4
COLORS = "YlOrRd"
OUTLINE = "#0057d9"


def draw_attention(
    path: Path,
    posts: Sequence[GeneratedPost],
    observations: Mapping[str, Sequence[Observation]],
    image_px: int,
) -> None:
    """Draw a column for each post: its image, then each model's attention over it, as a PNG."""
    rows = 1 + len(observations)
    size = (PANEL_INCHES * len(posts) + 1.2, PANEL_INCHES * rows + 1.1)
    figure = Figure(figsize=size, dpi=DPI, layout=ConstrainedLayoutEngine(h_pad=0.08))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(posts), squeeze=False)
    peak = max(float(_cells(seen).max()) for group in observations.values() for seen in group)
    for column, post in enumerate(posts):
        _show_post(axes[0, column], post)
        for row, group in enumerate(observations.values(), start=1):
            heat = _show_attention(axes[row, column], post, group[column], image_px, peak)
    for row, name in enumerate(("post", *observations)):
        axes[row, 0].set_ylabel(name, fontsize=12)
    bar = figure.colorbar(heat, ax=axes[1:, :].ravel().tolist(), shrink=0.8, pad=0.01)
    bar.set_label("attention weight of the cell", fontsize=9)
    figure.savefig(path)


def _show_post(axis: Any, generated: GeneratedPost) -> None:
    post = generated.post
    _show_image(axis, generated)
    text = fill(post.text, TITLE_CHARACTERS, max_lines=MAX_TITLE_LINES, placeholder=" …")
    labels = f"text {post.text_label}, image {post.image_label}"
    axis.set_title(text, fontsize=8.5, loc="left", parse_math=False)
    axis.set_xlabel(f"{labels}:\n{post.label}", fontsize=8)


def _show_attention(
    axis: Any, generated: GeneratedPost, seen: Observation, image_px: int, peak: float
) -> Any:
    """Lay the weights over a faded grey image; a cell of weight 0 stays clear."""
    _show_image(axis, generated, faded=True)
    cells = _cells(seen)
    alpha = 0.9 * np.sqrt(cells / peak)
    heat = axis.imshow(
        cells, extent=(0, image_px, image_px, 0), cmap=COLORS, vmin=0, vmax=peak, alpha=alpha
    )
    (measure,) = measure_observations([seen], [generated.patch_box_px], image_px)
    axis.set_xlabel(f"{PERCENT * measure.mass:.0f} % on the patch", fontsize=8)
    _outline(axis, generated)
    return heat


def _show_image(axis: Any, generated: GeneratedPost, faded: bool = False) -> None:
    with Image.open(BytesIO(cast(bytes, generated.post.image))) as image:
        pixels = np.asarray(image.convert("L" if faded else "RGB").convert("RGB")) / 255
    side = len(pixels)
    axis.imshow(pixels * 0.4 + 0.6 if faded else pixels, extent=(0, side, side, 0))
    axis.set(xticks=[], yticks=[])
    _outline(axis, generated)


def _outline(axis: Any, generated: GeneratedPost) -> None:
    left, top, right, bottom = generated.patch_box_px
    box = Rectangle((left, top), right - left, bottom - top)
    box.set(fill=False, edgecolor=OUTLINE, linewidth=2)
    axis.add_patch(box)


def _cells(seen: Observation) -> np.ndarray:
    """Return the mean weights as a square, without tokens that stand for no cell."""
    assert seen.weights is not None  # the demonstration trains text-guided units
    weights = mean_attention(seen.weights).numpy()
    side = int(len(weights) ** 0.5)
    cells: np.ndarray = weights[len(weights) - side * side :].reshape(side, side)
    return cells


def write_report(path: Path, numbers: Mapping[str, Any], figure: str) -> None:
    """Write the page from what is in ``report.json``."""
    models, posts = numbers["models"], numbers["posts"]
    page = _PAGE.format(
        train=posts["train"],
        dev=posts["dev"],
        recipe=numbers["recipe"],
        seed=numbers["seed"],
        attention=_table(_ATTENTION_HEAD, _attention_rows(numbers)),
        verdict=_verdict(numbers),
        difference=_interval(numbers["mass_sparsemax_minus_softmax"]),
        pointing=_table(*_pointing(models)),
        scores=_table(_SCORES_HEAD, [row for name in models for row in _score_rows(name, models)]),
        ceiling=_percent(numbers["chance"]["accuracy_from_text_alone"]),
        times=_table(_TIMES_HEAD, [_time_row(name, model) for name, model in models.items()]),
        wall=numbers["seconds"]["wall"],
        processor=numbers["seconds"]["processor"],
        figure=figure,
    )
    with atomic_write(path) as file:
        file.write(page)


_ATTENTION_HEAD = (
    "attention",
    "dev posts",
    "number",
    "on the patch",
    "95 % interval",
    "largest weight in it",
    "zeros",
)
_GROUPS = {
    "all": "all",
    "image_decides": "image decides",
    "text_decides": "text decides",
    "untrained": "all, untrained",
}
_SCORES_HEAD = ("attention", "posts shown", "accuracy", "95 %", "weighted F1", "95 %", "macro F1")
_TIMES_HEAD = ("attention", "epochs", "image features, s", "training, s")

_PAGE = """\
# mvcn on generated posts

{train} training and {dev} dev posts were generated (seed {seed}). In each image one face, on a
known patch of 2 x 2 of the 7 x 7 cells, decides the image's label; other shapes of the same sizes
and colours mean nothing. The `{recipe}` recipe was trained on them twice: with sparsemax attention
from text to image, as in MVCN, and with softmax attention in its place. Nothing told either model
where the patch is.

## Does the text look at the patch?

{attention}

*On the patch*: share of the attention weights that falls on the patch, averaged over heads and real
text tokens of the last text-guided unit, then over dev posts. *Largest weight in it*: share of the
posts whose most attended image token lies in the patch. *Zeros*: share of the weights that are
exactly 0. *Untrained*: the same network before its first step; *chance*: equal weights everywhere.
Intervals are over posts, of one training; another seed gives another model.

A positive or negative text settles the label of a generated post, since none contradict: only where
the text is neutral does *the image decide*. A model has no reason to look at the patch elsewhere.

{verdict}
- Sparsemax minus softmax on all posts, post by post: {difference}.

![Attention of both models over dev posts]({figure})

The first dev post of each pair of labels, not picked; in the first three the image decides.
Outlined in blue: the known patch. The stronger the colour, the larger the weight, averaged over
heads and text tokens; the scale is the same in all panels.

## Which explanation points at the patch?

{pointing}

Share of the dev posts in which the image decides whose most salient image token lies in the patch,
by each way to explain (`mvcn explain --method`).

## Is it classified well, and is the image needed?

{scores}

A reader of the text alone can be right in {ceiling} % of such posts at best, in expectation.
*Without images*: the same trained model, with the images taken away.

## What it took

{times}

In all {wall:.0f} s, and {processor:.0f} s of processor time. The second model finds the image
features of the first in the cache; so does a second demo. All numbers are in
[report.json](report.json).
"""


def _attention_rows(numbers: Mapping[str, Any]) -> list[list[str]]:
    rows = [
        [name, group, *_attention_cells(model["attention"][key])]
        for name, model in numbers["models"].items()
        for key, group in _GROUPS.items()
        if key in model["attention"]
    ]
    chance = f"{_percent(numbers['chance']['mass'])} %"
    return [*rows, ["chance", "", "", chance, "", chance, ""]]


def _attention_cells(attention: Mapping[str, Any]) -> list[str]:
    mass = attention["mass"]
    return [
        str(attention["posts"]),
        f"{_percent(mass['mean'])} %",
        _ends(mass["interval"]),
        f"{_percent(attention['hit_rate'])} %",
        f"{_percent(attention['zeros'])} %",
    ]


def _pointing(models: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    methods = list(
        dict.fromkeys(method for model in models.values() for method in model["pointing"])
    )
    rows = [
        [name, *(f"{_percent(model['pointing'][method])} %" for method in methods)]
        for name, model in models.items()
    ]
    return ["attention", *methods], rows


def _score_rows(name: str, models: Mapping[str, Any]) -> list[list[str]]:
    parts = {"text and image": "dev", "without images": "dev_without_images"}
    return [[name, shown, *_scores(models[name][part])] for shown, part in parts.items()]


def _scores(evaluation: Mapping[str, Any]) -> list[str]:
    intervals = evaluation["intervals"]
    return [
        _percent(evaluation["accuracy"]),
        _ends(intervals["accuracy"]),
        _percent(evaluation["f1_weighted"]),
        _ends(intervals["f1_weighted"]),
        _percent(evaluation["f1_macro"]),
    ]


def _time_row(name: str, model: Mapping[str, Any]) -> list[str]:
    seconds = model["seconds"]
    trained = str(model["epochs"]["trained"])
    return [name, trained, f"{seconds['image_features']:.0f}", f"{seconds['training']:.0f}"]


def _verdict(numbers: Mapping[str, Any]) -> str:
    """Say how many times its share by chance the patch gets."""
    chance = numbers["chance"]["mass"]
    return "\n".join(
        f"- With {name}, the patch gets this many times its share by chance: "
        f"{_times(model['attention'], chance)}."
        for name, model in numbers["models"].items()
    )


def _times(attention: Mapping[str, Any], chance: float) -> str:
    return ", ".join(
        f"{attention[key]['mass']['mean'] / chance:.1f} ({group})"
        for key, group in _GROUPS.items()
        if key in attention
    )


def _interval(of: Mapping[str, Any]) -> str:
    return f"{PERCENT * of['mean']:+.1f} points (95 % {_ends(of['interval'])})"


def _percent(share: float) -> str:
    return f"{PERCENT * share:.1f}"


def _ends(interval: Sequence[float]) -> str:
    low, high = interval
    return f"{_percent(low)} to {_percent(high)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
