"""Draw the pictures of docs/method.md: sparsemax, and the forms of the constraint.

Run from the repository's root: ``python -m scripts.method_figures``.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch
import typer

from mvcn.losses.congruity import congruity_loss
from mvcn.nn.sparsemax import sparsemax

FIGURES = Path("docs") / "figures"
SCORES = (1.6, 1.3, 0.9, 0.4, 0.2, -0.3, -0.8)
FORMS = ("ratio", "share", "absolute")
BESIDE = 0.05
"""How far the line that posts lie on is from the centroids."""


def main() -> None:
    """Write both pictures."""
    plt.rcParams["svg.hashsalt"] = "mvcn"  # the same file each time
    draw_sparsemax(FIGURES / "sparsemax.svg")
    draw_forms(FIGURES / "congruity.svg")


def draw_sparsemax(path: Path) -> None:
    """Draw the weights that softmax and sparsemax give the same scores."""
    scores = torch.tensor(SCORES)
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.2), sharey=True)
    weights = {"softmax": scores.softmax(-1), "sparsemax": sparsemax(scores)}
    for axis, (name, heights) in zip(axes, weights.items(), strict=True):
        zeros = int((heights == 0).sum())
        axis.bar(range(len(scores)), heights, color="#0b57a4")
        axis.set(title=f"{name}: {zeros} of {len(scores)} are exactly 0", xticks=[])
    _save(figure, path)


def draw_forms(path: Path) -> None:
    """Draw the loss of a post on a line between two centroids, in each form of the constraint."""
    centroids, counts = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([9, 9])
    places = torch.linspace(-0.5, 1.0, 200).tolist()
    figure, axis = plt.subplots(figsize=(6, 2.6))
    for form in FORMS:
        losses = [
            congruity_loss(torch.tensor([[x, BESIDE]]), torch.tensor([0]), centroids, counts, form)
            for x in places
        ]
        axis.plot(places, losses, label=form)
    place = "position of a post; its own centroid at 0, the other at 1"
    axis.set(ylim=(0, 3), xlabel=place, ylabel="loss")
    axis.legend(frameon=False)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))


if __name__ == "__main__":
    typer.run(main)
