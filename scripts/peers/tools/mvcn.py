"""This package: `mvcn train` with a recipe, on texts and images."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mvcn import Classifier
from mvcn.types import Post
from scripts.peers.posts import Posts, Predict, read_table

PACKAGES = ("mvcn[train]",)


def fit(table: Path, folder: Path, seed: int, recipe: str, settings: Sequence[str] = ()) -> None:
    """Train as a user does, by the command; the images of a table are in one folder."""
    images = Path(read_table(table).images[0]).parent
    command = [sys.executable, "-m", "mvcn", "train", "--train", table, "--output", folder]
    command += ["--images", images, "--recipe", recipe, "--seed", seed]
    command += [word for setting in settings for word in ("--set", setting)]
    subprocess.run([str(word) for word in command], check=True)


def load(folder: Path) -> Predict:
    """Return what predicts texts and images."""
    classifier = Classifier.from_pretrained(folder)

    def predict(posts: Posts) -> tuple[Sequence[str], np.ndarray]:
        pairs = enumerate(zip(posts.texts, posts.images, strict=True))
        found = classifier.predict([Post(str(i), text, Path(image)) for i, (text, image) in pairs])
        return classifier.class_names, np.array([[*one.probabilities.values()] for one in found])

    return predict
