"""The held-out posts of a run, and what training predicted for them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mvcn.data.posts import label_ids
from mvcn.errors import DataError
from mvcn.explain.run import TrainedRun
from mvcn.inputs.batches import EncodedPosts
from mvcn.types import probability_columns


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Posts that the model was not trained on, and its probabilities for them."""

    posts: EncodedPosts
    labels: Int[np.ndarray, " batch"]
    probabilities: Float[np.ndarray, "batch classes"]

    @property
    def predicted(self) -> Int[np.ndarray, " batch"]:
        """The number of the most probable class of each post."""
        return np.asarray(self.probabilities.argmax(1))

    @property
    def is_right(self) -> Bool[np.ndarray, " batch"]:
        """Whether the most probable class of each post is its label."""
        return np.asarray(self.predicted == self.labels)


def read_held_out(run: TrainedRun) -> HeldOut:
    """Return the held-out posts that can be read, and their predictions from the run folder.

    Raises:
        DataError: None of the posts was predicted: they have changed.
    """
    encoded = run.shown if run.held_out == "dev" else run.train
    rows = {row["id"]: row for row in run.predictions()}
    known = [i for i, post in enumerate(encoded.posts) if post.id in rows]
    if not known:
        raise DataError(
            f"None of the posts of {run.folder} was predicted, because they have changed: train "
            "the run again."
        )
    posts, names = encoded.select(known), run.model.class_names
    columns = probability_columns(names)
    scores = [[float(rows[post.id][name]) for name in columns] for post in posts.posts]
    return HeldOut(posts, np.array(label_ids(posts.posts, names)), np.array(scores))
