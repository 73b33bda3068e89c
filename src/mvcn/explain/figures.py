"""Pictures of explanations."""

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from PIL import Image
from torch import Tensor

from mvcn.data.images import open_thumbnail
from mvcn.explain.observation import MapKind, Space, Sparsity, project
from mvcn.explain.post import SMALL_DECREASE, SMALL_DECREASE_OF_CELL, Explanation, Word
from mvcn.nn.attention import Normalizer
from mvcn.types import SaliencyMethod

PANEL_INCHES = 2.5
WIDTH_INCHES = 11.5
DPI = 120
SHOWN_PX = 448
WORD_PANELS = 5
WORDS_SHOWN = 18
LETTERS_SHOWN = 18
LINE_LETTERS = 62
HEAT = "YlOrRd"
MANY_COLORS = colormaps["tab20"]
SIGNED = LinearSegmentedColormap.from_list("signed", ["#2166ac", "#f7f7f7", "#b2182b"])
CLASS_COLORS = ("#1b9e77", "#7570b3", "#d95f02", "#e7298a", "#66a61e", "#e6ab02", "#a6761d")
MAP_TITLES: Mapping[MapKind, str] = {"t-sne": "t-SNE", "pca": "PCA"}
MAP_INCHES = 4.4
LEGEND_COLUMNS = 5
CLASSES_SHOWN = 8
NORMALIZER_COLORS: Mapping[Normalizer, str] = {"sparsemax": "#0b57a4", "softmax": "#d95f02"}
QUARTILES_PERCENT = (25, 75)
ATTENTION_INCHES = (6.4, 3.2)


def draw_post(explanation: Explanation) -> bytes:
    """Return the explanation of a post as a PNG: image, heat maps, words, classes.

    Cells with an attention weight of exactly 0 are transparent. All attention maps share one
    scale; the saliency map has its own, red for the predicted class and blue against it.
    """
    has_attention = bool(explanation.attention)
    heights = [1.15, 1.0, 1.2] if has_attention else [1.15, 1.2]
    figure = Figure(
        figsize=(WIDTH_INCHES, PANEL_INCHES * sum(heights)),
        dpi=DPI,
        layout=ConstrainedLayoutEngine(),
    )
    FigureCanvasAgg(figure)
    rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    pixels = _pixels(explanation)
    _draw_images(rows[0], explanation, pixels)
    if has_attention:
        _draw_words_attention(rows[1], explanation, pixels)
    words, classes = rows[-1].subplots(1, 2, width_ratios=[3, 2])
    _draw_words(words, explanation)
    _draw_classes(classes, explanation)
    figure.suptitle(_headline(explanation), fontsize=10, x=0.01, ha="left", parse_math=False)
    return png(figure)


def draw_heat_map(explanation: Explanation) -> bytes | None:
    """Return a PNG of the post's image, red where it supports the predicted class, else blue.

    None for a post without an image, or a model that reads no images.
    """
    if explanation.post.image is None or explanation.saliency is None:
        return None
    picture = open_thumbnail(explanation.post.image, SHOWN_PX)
    heat_map(picture, explanation.saliency, explanation.method).save(stream := BytesIO(), "PNG")
    return stream.getvalue()


def heat_map(picture: Image.Image, saliency: Tensor, method: SaliencyMethod) -> Image.Image:
    """Return a faded grey image under the smoothly upsampled saliency of its tokens."""
    mixed = 255 * _under_saliency(np.asarray(picture) / 255, saliency, _peak(saliency, method))
    return Image.fromarray(mixed.round().astype(np.uint8))


def draw_maps(spaces: Mapping[str, Space]) -> bytes:
    """Return t-SNE and PCA of feature spaces with class centroids as a PNG, side by side."""
    panels = [
        (f"{name}, {title}", space, kind)
        for kind, title in MAP_TITLES.items()
        for name, space in spaces.items()
    ]
    columns = max(len(spaces), 2)
    rows = len(panels) // columns
    size = (MAP_INCHES * columns, MAP_INCHES * rows + 0.4)
    figure = Figure(figsize=size, dpi=DPI, layout=ConstrainedLayoutEngine(h_pad=0.08))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, (title, space, kind) in zip(axes.flat, panels, strict=True):
        _draw_map(axis, space, *project(space, kind))
        axis.set_title(title, fontsize=11, parse_math=False)
    _draw_legend(figure, next(iter(spaces.values())).class_names)
    return png(figure)


def draw_attention(runs: Mapping[str, Mapping[Normalizer, Sparsity]]) -> bytes:
    """Return the sorted attention weights of runs as a PNG, side by side.

    Lines are means over posts of the weights in descending order, bands are interquartile ranges.
    The line of the run's own normalizer is solid.
    """
    width, height = ATTENTION_INCHES
    size = (width * len(runs), height)
    figure = Figure(figsize=size, dpi=DPI, layout=ConstrainedLayoutEngine())
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]
    for axis, (name, sparsities) in zip(axes, runs.items(), strict=True):
        _draw_sorted_weights(axis, sparsities)
        axis.set_title(name, fontsize=11, parse_math=False)
    axes[0].set_ylabel("attention weight")
    return png(figure)


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG."""
    figure.savefig(stream := BytesIO(), format="png")
    return stream.getvalue()


def cells(weights: Tensor) -> np.ndarray:
    """Return the values of image tokens as a square, without leading tokens that have no cell."""
    side = math.isqrt(len(weights))
    square: np.ndarray = weights[len(weights) - side * side :].reshape(side, side).numpy()
    return square


def show_image(axis: Any, pixels: np.ndarray) -> None:
    """Show height x width x 3 pixels, from 0 to 1, without ticks."""
    height, width = pixels.shape[:2]
    axis.imshow(pixels, extent=(0, width, height, 0))
    axis.set(xticks=[], yticks=[])


def show_weights(axis: Any, pixels: np.ndarray, weights: Tensor, peak: float) -> Any:
    """Show attention over a faded grey image; cells of weight 0 are transparent."""
    show_image(axis, _faded(pixels))
    square = cells(weights)
    alpha = 0.9 * np.sqrt(np.clip(square / max(peak, 1e-9), 0, 1))
    height, width = pixels.shape[:2]
    extent = (0, width, height, 0)
    return axis.imshow(square, extent=extent, cmap=HEAT, vmin=0, vmax=peak, alpha=alpha)


def _show_saliency(axis: Any, pixels: np.ndarray, saliency: Tensor, method: SaliencyMethod) -> Any:
    peak = _peak(saliency, method)
    show_image(axis, _under_saliency(pixels, saliency, peak))
    return ScalarMappable(Normalize(-peak, peak), SIGNED)


def _under_saliency(pixels: np.ndarray, saliency: Tensor, peak: float) -> np.ndarray:
    """Return height x width x 3 pixels, from 0 to 1, under the saliency of the image tokens."""
    height, width = pixels.shape[:2]
    square = Image.fromarray(cells(saliency).astype(np.float32))
    smooth = np.asarray(square.resize((width, height), Image.Resampling.BICUBIC))
    values = np.clip(smooth / peak, -1, 1)
    alpha = 0.85 * np.sqrt(abs(values))[..., None]
    colors = SIGNED((values + 1) / 2)[..., :3]
    mixed: np.ndarray = alpha * colors + (1 - alpha) * _faded(pixels)
    return mixed


def _peak(saliency: Tensor, method: SaliencyMethod) -> float:
    """Return the saliency that is shown in full colour; small effects of a cell stay pale."""
    smallest = SMALL_DECREASE_OF_CELL if method == "occlusion" else 1e-9
    return max(float(abs(cells(saliency)).max()), smallest)


def _draw_images(row: Any, explanation: Explanation, pixels: Any) -> None:
    if pixels is None or explanation.saliency is None:
        axis = row.subplots()
        axis.text(0.5, 0.5, "no image", ha="center", va="center")
        axis.set(xticks=[], yticks=[])
        return
    post, saliency, *others = row.subplots(1, 2 + len(explanation.attention))
    show_image(post, pixels)
    post.set_title("post", fontsize=9)
    heat = _show_saliency(saliency, pixels, explanation.saliency, explanation.method)
    title = f"for (red), against (blue) '{_short(explanation.predicted)}'"
    saliency.set_title(title, fontsize=9, parse_math=False)
    row.colorbar(heat, ax=saliency, shrink=0.8).set_label(_unit(explanation), fontsize=8)
    peak = max((float(w.max()) for w in explanation.attention.values()), default=1.0)
    for axis, (name, weights) in zip(others, explanation.attention.items(), strict=True):
        heat = show_weights(axis, pixels, weights, peak)
        axis.set_title(f"mean of all words, {name}:\n{_cells_seen(weights)}", fontsize=9)
    if others:
        row.colorbar(heat, ax=others[-1], shrink=0.8).set_label("weight of the cell", fontsize=8)


def _draw_words_attention(row: Any, explanation: Explanation, pixels: Any) -> None:
    """Show the attention of the words with the largest shares."""
    words = _leading_words(explanation, WORD_PANELS)
    if not words:
        return
    peak = max(float(word.attention.max()) for word in words if word.attention is not None)
    axes = row.subplots(1, WORD_PANELS, squeeze=False)[0]
    for axis in axes[len(words) :]:
        axis.set_axis_off()
    for axis, word in zip(axes, words, strict=False):
        assert word.attention is not None  # as `_leading_words` chooses
        heat = show_weights(axis, pixels, word.attention, peak)
        title = f"'{_short(word.text)}':\n{_cells_seen(word.attention)}"
        axis.set_title(title, fontsize=9, parse_math=False)
    row.colorbar(heat, ax=axes[-1], shrink=0.8).set_label("weight of the cell", fontsize=8)


def _cells_seen(weights: Tensor) -> str:
    """Return the number of cells with a weight above 0, in words."""
    return f"{int((weights > 0).sum())} of {len(weights)} cells"


def _draw_words(axis: Any, explanation: Explanation) -> None:
    words = sorted(explanation.words, key=lambda word: -abs(word.saliency))[:WORDS_SHOWN]
    if not words:
        axis.text(0.5, 0.5, "no text", ha="center", va="center")
        axis.set(xticks=[], yticks=[])
        return
    kept = [word for word in explanation.words if any(word is one for one in words)]
    values = [word.saliency for word in kept]
    axis.bar(range(len(kept)), values, color=["#b2182b" if v > 0 else "#2166ac" for v in values])
    if all(word.share is not None for word in kept):
        other = axis.twinx()
        other.plot(range(len(kept)), [word.share for word in kept], "o", color="#555555", ms=3)
        other.set_ylabel("share of the feature (dots)", fontsize=8)
        other.set_ylim(0)
    axis.axhline(0, color="black", linewidth=0.5)
    is_small = max(map(abs, values)) < SMALL_DECREASE
    if is_small:
        axis.set_ylim(-SMALL_DECREASE, SMALL_DECREASE)
    labels = [_short(word.text) for word in kept]
    axis.set_xticks(range(len(kept)), labels, rotation=60, ha="right", fontsize=8, parse_math=False)
    axis.set_ylabel("decrease of log-probability", fontsize=8)
    axis.set_title("words, none of which decides alone" if is_small else "words", fontsize=9)


def _draw_classes(axis: Any, explanation: Explanation) -> None:
    kept = _leading_classes(explanation, CLASSES_SHOWN)[::-1]
    values = [explanation.probabilities[name] for name in kept]
    bars = axis.barh(range(len(kept)), values, color="#7a8fa6")
    axis.set_yticks(range(len(kept)), [_short(name) for name in kept], parse_math=False)
    notes = [
        f"{100 * value:.0f} %"
        + (f", distance {explanation.distances[name]:.2f}" if explanation.distances else "")
        for name, value in zip(kept, values, strict=True)
    ]
    axis.bar_label(bars, notes, fontsize=8, padding=2)
    axis.set(xlim=(0, 1.6), xticks=[0, 0.5, 1])
    axis.set_title("probability, distance to the class's centroid", fontsize=9)
    near = ", ".join(f"{n.post.id} ({n.post.label})" for n in explanation.neighbours)
    if near:
        text = fill(f"nearest training posts: {near}", LINE_LETTERS)
        axis.set_xlabel(text, fontsize=8, loc="left", parse_math=False)


def _draw_map(
    axis: Any, space: Space, places: np.ndarray, centroids: Mapping[int, np.ndarray]
) -> None:
    for k, color in enumerate(_class_colors(len(space.class_names))):
        members = places[space.labels == k]
        axis.scatter(*members.T, s=9, color=color, alpha=0.6, linewidths=0)
        if k in centroids:
            axis.scatter(*centroids[k], s=150, marker="*", color=color, edgecolor="black")
    axis.set(xticks=[], yticks=[])


def _class_colors(count: int) -> Sequence[Any]:
    if count <= len(CLASS_COLORS):
        return CLASS_COLORS[:count]
    return [MANY_COLORS(k % MANY_COLORS.N) for k in range(count)]


def _draw_legend(figure: Figure, names: Sequence[str]) -> None:
    handles = [
        Line2D([], [], color=color, marker="o", linestyle="") for color in _class_colors(len(names))
    ]
    legend = figure.legend(
        handles,
        map(_short, names),
        loc="outside lower center",
        ncols=min(len(names), LEGEND_COLUMNS),
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_sorted_weights(axis: Any, sparsities: Mapping[Normalizer, Sparsity]) -> None:
    own = next(iter(sparsities))
    for name, sparsity in sparsities.items():
        ranks = np.arange(1, sparsity.weights.shape[1] + 1)
        low, high = np.percentile(sparsity.weights, QUARTILES_PERCENT, axis=0)
        of_same = "" if name == own else " for the same scores"
        label = f"{name}{of_same}: {100 * sparsity.zeros:.1f} % are exactly 0"
        style, color = "-" if name == own else "--", NORMALIZER_COLORS[name]
        axis.fill_between(ranks, low, high, color=color, alpha=0.2, linewidth=0)
        axis.plot(ranks, sparsity.weights.mean(0), style, color=color, linewidth=1.6, label=label)
    axis.set(xlabel="image tokens by weight", xlim=(0, None), ylim=(0, None))
    axis.legend(frameon=False, fontsize=9)


def _leading_classes(explanation: Explanation, count: int) -> Sequence[str]:
    """Return the most probable classes, in the order of all classes."""
    probabilities = explanation.probabilities
    leading = sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:count]
    return [name for name in probabilities if name in leading]


def _leading_words(explanation: Explanation, count: int) -> Sequence[Word]:
    seen = [word for word in explanation.words if word.attention is not None]
    return sorted(seen, key=lambda word: -(word.share or 0.0))[:count]


def _pixels(explanation: Explanation) -> np.ndarray | None:
    if explanation.post.image is None:
        return None
    return np.asarray(open_thumbnail(explanation.post.image, SHOWN_PX)) / 255


def _faded(pixels: np.ndarray) -> np.ndarray:
    grey = pixels.mean(-1, keepdims=True).repeat(3, -1)
    faded: np.ndarray = grey * 0.45 + 0.55
    return faded


def _unit(explanation: Explanation) -> str:
    units = {
        "occlusion": "decrease of log-probability",
        "gradient": "gradient times token",
        "attention": "weight of the cell",
    }
    return units[explanation.method]


def _headline(explanation: Explanation) -> str:
    label = explanation.post.label
    truth = f", labelled '{label}'" if label is not None else ""
    return f"post {explanation.post.id}{truth}, predicted '{explanation.predicted}'"


def _short(text: str) -> str:
    return text if len(text) <= LETTERS_SHOWN else f"{text[: LETTERS_SHOWN - 1]}…"
