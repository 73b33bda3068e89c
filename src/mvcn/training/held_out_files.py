"""The files of a run folder with the predictions for its held-out posts."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from mvcn.files import atomic_write
from mvcn.types import probability_columns

if TYPE_CHECKING:
    from mvcn.inputs.batches import EncodedPosts

PREDICTION_FILES = {
    "out_of_fold": "out_of_fold_predictions.csv",
    "dev": "dev_predictions.csv",
}
"""Held-out posts -> file of the predictions for them. Those of an ensemble for its training posts,
each by the member that was not trained on it, come first: they are more."""
MEMBER = "member"
"""Column with the number of that member, from 1."""


def write_predictions(
    folder: Path,
    encoded: "Mapping[str, EncodedPosts]",
    class_names: Sequence[str],
    probabilities: Mapping[str, Float[np.ndarray, "batch classes"]],
    folds: Int[np.ndarray, " train"] | None = None,
) -> None:
    """Write label, prediction and probabilities of the held-out posts, and who predicted them.

    Args:
        folder: Run folder.
        encoded: Split -> its posts.
        class_names: The classes.
        probabilities: Key of `PREDICTION_FILES` -> probabilities of its posts.
        folds: The member that was not trained on each training post, from 0; None without members.
    """
    for name, rows in probabilities.items():
        is_dev = name == "dev"
        posts = encoded["dev" if is_dev else "train"].posts
        own = {} if is_dev or folds is None else {MEMBER: (folds + 1).tolist()}
        named = {
            "id": [post.id for post in posts],
            "label": [post.label for post in posts],
            "predicted": [class_names[k] for k in rows.argmax(1)],
            **own,
            **dict(zip(probability_columns(class_names), rows.T.tolist(), strict=True)),
        }
        with atomic_write(folder / PREDICTION_FILES[name]) as file:
            writer = csv.writer(file)
            writer.writerow(named)
            writer.writerows(zip(*named.values(), strict=True))
