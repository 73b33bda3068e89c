"""Types that all layers share: posts, collections of them, and named choices."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

BadImagePolicy = Literal["error", "blank", "drop"]
Quoting = Literal["auto", "minimal", "none"]
TargetScore = Literal["accuracy", "macro-f1"]
SaliencyMethod = Literal["attention", "gradient", "occlusion"]
DEFAULT_SALIENCY: SaliencyMethod = "occlusion"
Summary = Literal["first", "last", "mean"]
"""What stands for a sequence: its first token, the last one, or the mean of all."""
FusionKind = Literal["text-guided", "equal"]
AttentionKind = Literal["sparsemax", "softmax"]
CongruityForm = Literal["ratio", "share", "absolute"]
CentroidSource = Literal["queue", "batch"]
ContrastForm = Literal["corrected", "faithful"]
MODEL_TYPE = "mvcn"
"""In the config.json of a saved model."""
MAX_IMAGE_PIXELS = 89_478_485
"""Of an image that is read: where Pillow starts to warn, a quarter of a gigabyte as RGB."""
LABEL = "label"
"""Column of the predicted class in files of predictions."""
PROBABILITY = "probability_"
"""Prefix of the columns of class probabilities in files of predictions."""
DISAGREEMENT = "disagreement"
"""Column of the disagreement between members, in files of predictions by an ensemble."""
EARLIER_NETWORKS = {"tgf": {"network": "mvcn"}, "mfs": {"network": "mvcn", "fusion": "equal"}}
"""Network of an earlier version -> settings of the same network today."""
NO_PIECE = -1
"""In place of a word piece, where the words that name attributes have fewer than others."""
ATTRIBUTE_MODEL_FOLDER = "describer"
"""Its folder next to a saved model that reads attributes; earlier versions named it so."""
WORD_NUMBERS = 2**20
"""A word piece plus this times the number of its word is a numbered one; every vocabulary is
smaller. The encoder reads the word piece, n-grams read the number, and 0 is none."""


def probability_columns(class_names: Iterable[str]) -> list[str]:
    """Return the names of the columns of class probabilities."""
    return [f"{PROBABILITY}{name}" for name in class_names]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Properties of an image that has been read."""

    digest: str
    """Content hash of the file; see `mvcn.data.images.image_digest`."""
    width_px: int = 0
    height_px: int = 0
    perceptual_hash: int | None = None
    """64 bits that change little when a picture is scaled or compressed; None if unreadable."""
    contrast: float = 0.0
    """Standard deviation of the grey values, 0 to 255; near 0 for a blank image."""
    problem: str | None = None
    """Why the image cannot be decoded; None if it can."""
    truncation: str | None = None
    """How much of the picture the file holds, where its last bytes are missing."""


class StoredImage(ABC):
    """An image inside a larger file; hashable, and read only when it is needed.

    Its `str` is its location for errors, as in ``in row 12 of posts.parquet``.
    """

    __slots__ = ()

    @property
    def facts(self) -> ImageFacts | None:
        """Properties that are stored with the image; None by default."""
        return None

    @abstractmethod
    def read(self) -> bytes:
        """Return the bytes of the image file; raises a BadImageError where that is impossible."""


ImageReference: TypeAlias = Path | bytes | StoredImage
"""An image file, the bytes of one, or an image inside a larger file."""


@dataclass(frozen=True, slots=True)
class Post:
    """One post of text and image, either of which may be missing.

    Labels are class *names*; they become integers only in batches of tensors, in the order of the
    model's classes, so that the numbering of two files can never be mixed up.
    """

    id: str
    text: str
    """Empty where the post has no text."""
    image: ImageReference | None
    """None where the post has no image."""
    label: str | None = None
    text_label: str | None = None
    """Label of the text alone, where the dataset has one."""
    image_label: str | None = None
    """Label of the image alone, where the dataset has one."""
    attributes: tuple[str, ...] = ()
    """Words that name what is in the image, where the dataset has them."""
    split: str | None = None
    """``train``, ``dev`` or ``test``, where the dataset assigns the post to one."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """The posts of one dataset in a stable order, its classes, and what was left out and why."""

    posts: Sequence[Post]
    class_names: tuple[str, ...]
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Reason -> ids of the posts that the dataset's own rules remove."""
    encodings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Encoding other than UTF-8 -> ids of the posts whose text was stored in it."""
    faulty_images: Mapping[str, ImageFacts] = field(default_factory=dict)
    """Id of a post whose image was removed by ``mvcn prepare`` -> properties of the image."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column -> its name in the dataset, where posts were read from columns."""
    other_splits: Mapping[str, int] = field(default_factory=dict)
    """Split of the dataset that was not requested -> its number of posts."""
    missing_images: tuple[str, ...] = ()
    """Ids of posts whose image file is missing: they count as posts without an image."""
