"""What flows between the layers: posts, and collections of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Post:
    """One post of text and image, either of which may be lacking.

    Labels are class *names*; they become integers only where a batch of tensors is made, by the
    table of the model that reads them, so that two files' numbering can never be mixed up.
    """

    id: str
    text: str
    """Empty where the post has no text."""
    image: Path | bytes | None
    """A file, the bytes of a file, or None where the post has no image."""
    label: str | None = None
    text_label: str | None = None
    """What an annotator said who saw the text alone, where the data set has it."""
    image_label: str | None = None
    """What an annotator said who saw the image alone, where the data set has it."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """The posts of one source in a stable order, its classes, and what was left out and why."""

    posts: Sequence[Post]
    class_names: tuple[str, ...]
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Reason -> ids of the posts that the source's own rules remove."""
