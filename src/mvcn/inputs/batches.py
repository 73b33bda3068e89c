"""From posts to batches of tensors, the same way for training, evaluation and prediction."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mvcn.data.bad_images import BOTH, UsablePosts
from mvcn.data.posts import NO_LABEL, LabelField, label_ids
from mvcn.inputs.attributes import AttributeCache, AttributeModel
from mvcn.inputs.compatibility import require_compatible
from mvcn.inputs.images import image_inputs
from mvcn.inputs.processor import MvcnProcessor
from mvcn.inputs.texts import FrozenTexts
from mvcn.models.classification import MvcnForClassification
from mvcn.models.configuration import MvcnConfig
from mvcn.models.registry import described_system
from mvcn.nn.unimodal_labels import estimate_merge_table
from mvcn.runtime.batches import ArrayEncoder, PostArrays
from mvcn.runtime.images import ImageInputs, ImagePixels
from mvcn.types import ATTRIBUTE_MODEL_FOLDER, BadImagePolicy, Post

LABEL_FIELDS: dict[str, LabelField] = {
    "labels": "label",
    "text_labels": "text_label",
    "image_labels": "image_label",
}
TEACHER_FIELDS = ("teacher", "teacher_pairs")


class PostEncoder(ArrayEncoder):
    """Turns posts into batches of tensors for a model.

    Args:
        processor: The model's own.
        images: Makes what the model reads of images; None for a model that reads none.
        reads: What the model reads, as in `mvcn.models.registry`.
        attribute_model: Finds attributes of images, where the model reads them.
        attribute_cache: Where attributes are kept from one call to the next.
        ignored: As in `ArrayEncoder`.
    """

    processor: MvcnProcessor

    def __init__(
        self,
        processor: MvcnProcessor,
        images: ImageInputs | None,
        reads: Sequence[str] = BOTH,
        attribute_model: AttributeModel | None = None,
        attribute_cache: AttributeCache | None = None,
        ignored: Sequence[str] = (),
    ) -> None:
        super().__init__(processor, images, reads, ignored)
        self.attribute_model = attribute_model
        self.attribute_cache = attribute_cache
        self.texts: FrozenTexts | None = None
        """What frozen layers make of all texts that batches are made of, where that is known."""

    @classmethod
    def for_model(
        cls,
        model: MvcnForClassification,
        processor: MvcnProcessor,
        attribute_model: AttributeModel | None = None,
        *,
        by_graph: bool = False,
    ) -> "PostEncoder":
        """Return one that keeps features of frozen encoders, and attributes, in caches on disk.

        Args:
            model: The model.
            processor: Its own.
            attribute_model: As for this class.
            by_graph: As for `mvcn.inputs.images.ImageFeatures`.

        Raises:
            ConfigError: An encoder does not read what the processor makes of posts.
        """
        require_compatible(processor, model)
        cache = None if attribute_model is None else attribute_model.disk_cache()
        images = image_inputs(model, processor, by_graph=by_graph)
        about = described_system(model.config)
        reads, ignored = about.learned(model.config), about.ignored(model.config)
        return cls(processor, images, reads, attribute_model, cache, ignored)

    @classmethod
    def for_prediction(
        cls,
        config: MvcnConfig,
        processor: MvcnProcessor,
        attribute_model: AttributeModel | None = None,
    ) -> "PostEncoder":
        """Return one that reads each image once, and keeps nothing but the latest posts' pixels."""
        about = described_system(config)
        images = ImagePixels(processor, keep=True) if about.reads_image else None
        reads, ignored = about.learned(config), about.ignored(config)
        return cls(processor, images, reads, attribute_model, ignored=ignored)

    def encode(
        self,
        posts: Sequence[Post],
        on_bad_image: BadImagePolicy = "error",
        class_names: Sequence[str] | None = None,
    ) -> "EncodedPosts":
        """Return the posts in which the model finds something to read, as it reads them.

        Args:
            posts: Ids may repeat.
            on_bad_image: What to do with an image that cannot be read.
            class_names: Of the model, in the order of the logits; without them labels are not read.

        Raises:
            BadImageError: An image cannot be read and the policy is ``error``.
            DataError: A label that is not among the classes.
        """
        posts = self.without_ignored(posts)
        usable = self.usable(posts, on_bad_image)
        shown = list(usable.posts)
        if self.attribute_model is not None:
            shown = self.attribute_model.add_attributes(shown, self.attribute_cache)
        return EncodedPosts(self, posts, usable, shown, class_names)

    def save(self, folder: Path) -> None:
        """Write what encodes posts the same way to the folder of a saved model."""
        self.processor.save_pretrained(folder)
        if self.attribute_model is not None:
            self.attribute_model.save(folder / ATTRIBUTE_MODEL_FOLDER)

    def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return a batch of encoded posts, texts padded to its longest.

        It holds the model's inputs, and targets by the names of `Targets`.
        """
        labels = {name: torch.tensor([row[name] for row in rows]) for name in LABEL_FIELDS}
        teacher = {
            name: torch.tensor(np.stack([row[name] for row in rows]), dtype=torch.float32)
            for name in TEACHER_FIELDS
            if name in rows[0]
        }
        return {**self.inputs(rows), **labels, **teacher}

    def inputs(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return a batch of encoded posts without targets: the model's inputs."""
        inputs = as_tensors(self.arrays(rows))
        if self.texts is not None:
            inputs["text_states"] = self.texts.pad([row["input_ids"] for row in rows])
        return inputs


def as_tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return arrays as tensors that share their memory."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class EncodedPosts(PostArrays, Dataset[dict[str, Any]]):
    """Posts with texts as word pieces and labels as numbers, as `PostEncoder` makes them.

    Args:
        encoder: Makes batches of them.
        given: All posts that were to be encoded.
        usable: Which of them the model can read.
        posts: Those, in order, with attributes.
        class_names: Of the model; without them labels are not read.
    """

    def __init__(
        self,
        encoder: PostEncoder,
        given: Sequence[Post],
        usable: UsablePosts,
        posts: Sequence[Post],
        class_names: Sequence[str] | None,
    ) -> None:
        super().__init__(encoder, given, usable, posts)
        self.collate = encoder.collate
        self._inputs = encoder.inputs
        self._labels = {
            name: np.full(len(posts), NO_LABEL)
            if class_names is None
            else np.array(label_ids(posts, class_names, field), np.int64)
            for name, field in LABEL_FIELDS.items()
        }
        self._teacher: dict[str, np.ndarray] = {}

    def inputs(self, positions: Sequence[int]) -> dict[str, Tensor]:
        """Return a batch of some posts without targets: the model's inputs."""
        return self._inputs([self[position] for position in positions])

    def select(self, positions: Sequence[int]) -> "EncodedPosts":
        """Return some of the posts."""
        chosen = super().select(positions)
        assert isinstance(chosen, EncodedPosts)
        for name in ("_labels", "_teacher"):
            arrays = getattr(self, name).items()
            setattr(chosen, name, {key: values[positions] for key, values in arrays})
        return chosen

    @property
    def labels(self) -> Int[np.ndarray, " batch"]:
        """The label of each post, -1 where it has none."""
        return self._labels["labels"]

    def pairs(self, num_classes: int) -> Int[np.ndarray, " batch"]:
        """Return ``text label * classes + image label`` of each post, -1 where one is absent."""
        text, image = self._labels["text_labels"], self._labels["image_labels"]
        return np.where((text < 0) | (image < 0), NO_LABEL, text * num_classes + image)

    def add_teacher_targets(
        self,
        probabilities: Float[np.ndarray, "batch classes"],
        pairs: Float[np.ndarray, "batch classes classes"] | None = None,
    ) -> None:
        """Add a teacher's probabilities of each post's label, and of its text and image label."""
        self._teacher["teacher"] = probabilities
        if pairs is not None:
            self._teacher["teacher_pairs"] = pairs

    def merge_table(self, num_classes: int) -> Float[Tensor, "classes classes classes"]:
        """Return how these posts' labels follow from their text and image labels."""
        text, image, post = (
            torch.from_numpy(self._labels[name])
            for name in ("text_labels", "image_labels", "labels")
        )
        return estimate_merge_table(text, image, post, num_classes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            **super().__getitem__(index),
            **{name: numbers[index] for name, numbers in self._labels.items()},
            **{name: targets[index] for name, targets in self._teacher.items()},
        }


class LengthBuckets(Sampler[int]):
    """An order that puts texts of similar length into one batch, so that little padding is needed.

    Posts are shuffled, sorted by length within groups of `BATCHES_PER_BUCKET` batches, and the
    batches are shuffled. The order depends only on seed and epoch and not on the global generator:
    an interrupted epoch resumes in the same order.

    Args:
        lengths: Word pieces of each post.
        batch_size: Posts per batch.
        seed: Of the order.
        labels: Classes of the posts, to draw each class equally often; by default each post once.
    """

    BATCHES_PER_BUCKET = 50

    def __init__(
        self,
        lengths: Sequence[int] | Int[np.ndarray, " batch"],
        batch_size: int,
        seed: int,
        labels: Int[np.ndarray, " batch"] | None = None,
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.labels = labels
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        drawn = len(self.lengths) if self.labels is None else _balanced(self.labels, random)
        order = random.permutation(drawn)
        bucket = self.batch_size * self.BATCHES_PER_BUCKET
        batches = []
        for start in range(0, len(order), bucket):
            group = order[start : start + bucket]
            group = group[np.argsort(self.lengths[group], kind="stable")]
            batches += np.split(group, range(self.batch_size, len(group), self.batch_size))
        short = [batch for batch in batches if len(batch) < self.batch_size]
        full = [batch for batch in batches if len(batch) == self.batch_size]
        shuffled = [full[index] for index in random.permutation(len(full))]
        return map(int, np.concatenate(shuffled + short))


def _balanced(
    labels: Int[np.ndarray, " batch"], random: np.random.Generator
) -> Int[np.ndarray, " batch"]:
    """Return as many positions as there are labels, each class equally often to within one.

    Within a class, the numbers of times that posts occur differ by one at most.
    """
    classes = np.unique(labels)
    chosen = []
    for number, label in enumerate(classes):
        count = len(labels) // len(classes) + (number < len(labels) % len(classes))
        members = np.flatnonzero(labels == label)
        rounds = [random.permutation(members) for _ in range(-(-count // len(members)))]
        chosen.append(np.concatenate(rounds)[:count])
    return np.concatenate(chosen)
