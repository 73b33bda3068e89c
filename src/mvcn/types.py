"""What flows between the layers: posts, collections of them, and choices with a name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

BadImagePolicy = Literal["error", "blank", "drop"]
Quoting = Literal["auto", "minimal", "none"]
FusionKind = Literal["text-guided", "equal"]
AttentionKind = Literal["sparsemax", "softmax"]
CongruityForm = Literal["ratio", "share", "absolute"]
CentroidSource = Literal["queue", "batch"]
ContrastForm = Literal["corrected", "faithful"]
PROBABILITY = "probability_"
"""How the column of a class's probability begins in each file of predictions."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image once it has been read."""

    digest: str
    """Content hash of the file; see `mvcn.data.images.image_digest`."""
    width_px: int = 0
    height_px: int = 0
    perceptual_hash: int | None = None
    """64 bits that change little when a picture is scaled or compressed; None if unreadable."""
    contrast: float = 0.0
    """Standard deviation of the grey values, 0 to 255; near 0 for a blank image."""
    problem: str | None = None
    """Why the image cannot be decoded, where it cannot."""
    truncation: str | None = None
    """How much of the picture is in the file, where its last bytes are missing."""


class StoredImage(ABC):
    """An image that is no file of its own, hashable, and read only when it is needed.

    As text it names its place for errors, as in ``in row 12 of posts.parquet``.
    """

    __slots__ = ()

    @property
    def facts(self) -> ImageFacts | None:
        """What is stated of the image where it is stored; None by default."""
        return None

    @abstractmethod
    def read(self) -> bytes:
        """Return the bytes of the image file; raises a BadImageError where that is impossible."""


ImageReference: TypeAlias = Path | bytes | StoredImage
"""An image file, the bytes of one, or an image inside a larger file."""


@dataclass(frozen=True, slots=True)
class Post:
    """One post of text and image, either of which may be missing.

    Labels are class *names*; they become integers only where a batch of tensors is made, by the
    table of the model that reads them, so that two files' numbering can never be mixed up.
    """

    id: str
    text: str
    """Empty where the post has no text."""
    image: ImageReference | None
    """None where the post has no image."""
    label: str | None = None
    text_label: str | None = None
    """What an annotator said who saw the text alone, where the data set has it."""
    image_label: str | None = None
    """What an annotator said who saw the image alone, where the data set has it."""
    attributes: tuple[str, ...] = ()
    """Words that name what is in the image, where the data set has them."""
    split: str | None = None
    """``train``, ``dev`` or ``test``, where the dataset itself says to which the post belongs."""


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
    """Id of a post whose image was taken away when posts were prepared -> what is known of it."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column -> its name in the dataset, where posts were read from columns."""
    other_splits: Mapping[str, int] = field(default_factory=dict)
    """Split of the dataset that was not requested -> how many posts it has."""
    missing_images: tuple[str, ...] = ()
    """Ids of posts whose image, which the dataset has, is not where the dataset is: they count as
    posts without an image."""
