"""Posts as arrays, the same way for training, evaluation and prediction."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from mvcn.data.bad_images import BOTH, UsablePosts, by_id, usable_posts
from mvcn.data.text import has_text
from mvcn.runtime.images import ImageInputs
from mvcn.runtime.processing import PostProcessing
from mvcn.runtime.text_counts import TextCounts
from mvcn.runtime.token_ids import TokenIds
from mvcn.types import NO_PIECE, BadImagePolicy, ImageReference, Post

MODALITIES = {
    (True, True): "text and image",
    (True, False): "text alone",
    (False, True): "image alone",
    (False, False): "neither",
}
"""Whether a post has a text, and an image -> what that is called in reports."""
MOST_PIECES = 1_000_000
"""Of a word that names an attribute: all of them."""


class ArrayEncoder:
    """Turns posts into batches of arrays.

    Args:
        processor: The model's own.
        images: Makes what the model reads of images; None for a model that reads none.
        reads: What the model reads, as in `mvcn.models.registry`.
        ignored: Which of ``text`` and ``image`` is taken away from posts: the model reads it, but
            has never learned from one.
    """

    def __init__(
        self,
        processor: PostProcessing,
        images: ImageInputs | None,
        reads: Sequence[str] = BOTH,
        ignored: Sequence[str] = (),
    ) -> None:
        self.processor = processor
        self.images = images
        self.reads = reads
        self.ignored = ignored

    def encode(self, posts: Sequence[Post], on_bad_image: BadImagePolicy = "error") -> "PostArrays":
        """Return the posts in which the model finds something to read, as it reads them.

        Args:
            posts: Ids may repeat.
            on_bad_image: What to do with an image that cannot be read.

        Raises:
            BadImageError: An image cannot be read and the policy is ``error``.
        """
        posts = self.without_ignored(posts)
        usable = self.usable(posts, on_bad_image)
        return PostArrays(self, posts, usable, usable.posts)

    def without_ignored(self, posts: Sequence[Post]) -> Sequence[Post]:
        """Return the posts without what is ignored."""
        if "image" in self.ignored:
            posts = [replace(post, image=None) for post in posts]
        if "text" in self.ignored:
            posts = [replace(post, text="") for post in posts]
        return posts

    def usable(self, posts: Sequence[Post], on_bad_image: BadImagePolicy) -> UsablePosts:
        """Read the images; return which posts the model finds something to read in."""
        bad = {} if self.images is None else self.images.encode(posts)
        return usable_posts(posts, bad, on_bad_image, self.reads)

    def arrays(self, rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
        """Return a batch of encoded posts, texts padded to its longest: the model's inputs."""
        batch: dict[str, np.ndarray] = self.processor.pad([row["input_ids"] for row in rows])
        batch["text_mask"] = np.array([row["has_text"] for row in rows])
        if any(row["attributes"] for row in rows):
            batch["attribute_ids"] = _attribute_ids([row["attributes"] for row in rows])
        return {**batch, **self._images([row["image"] for row in rows])}

    def _images(self, images: Sequence[ImageReference | None]) -> dict[str, np.ndarray]:
        if self.images is None:
            return {}
        found = [None if image is None else self.images[image] for image in images]
        mask = np.array([array is not None for array in found])
        example = next((array for array in found if array is not None), None)
        shape = self.images.blank().shape if example is None else example.shape
        stacked = np.zeros((len(found), *shape), np.float32)
        for row, array in zip(stacked, found, strict=True):
            if array is not None:
                row[...] = array
        return {self.images.input_name: stacked, "image_mask": mask}


class PostArrays:
    """Posts with texts as word pieces, as `ArrayEncoder` makes them.

    Args:
        encoder: Makes batches of them.
        given: All posts that were to be encoded.
        usable: Which of them the model can read.
        posts: Those, in order, with attributes.
    """

    def __init__(
        self,
        encoder: ArrayEncoder,
        given: Sequence[Post],
        usable: UsablePosts,
        posts: Sequence[Post],
    ) -> None:
        self.arrays = encoder.arrays
        self.posts = posts
        self.positions = usable.positions
        """Where each post was among those given."""
        self.problems = usable.problems
        """Position among those given -> why a post is left out or without its image."""
        self.bad_images = by_id(given, usable.bad_images)
        """Post id -> what is wrong with its image."""
        self.left_out = by_id(given, usable.left_out)
        """Post id -> why there is nothing to read in it."""
        self.token_ids = TokenIds()
        self.text_counts: list[TextCounts] = []
        """How much of each text is read."""
        self._read_texts(encoder.processor, counted="text" in encoder.reads)
        self.lengths = self.token_ids.lengths
        self._pieces = self._attribute_pieces(encoder.processor)

    def _read_texts(self, processor: PostProcessing, counted: bool) -> None:
        """Set word pieces and counts; equal counts of many posts are one object."""
        known: dict[TextCounts, TextCounts] = {}
        shown = [processor.text_of(post) for post in self.posts]
        for texts, token_ids in processor.tokenize_some(shown):
            self.token_ids.extend(token_ids)
            counts = (
                processor.count(texts, token_ids) if counted else [TextCounts()] * len(token_ids)
            )
            self.text_counts += [known.setdefault(one, one) for one in counts]

    def _attribute_pieces(self, processor: PostProcessing) -> dict[str, list[int]]:
        words = list({word for post in self.posts for word in post.attributes})
        found = processor.encode_texts(words, MOST_PIECES, False) if words else []
        return {word: encoding.ids for word, encoding in zip(words, found, strict=True)}

    def select(self, positions: Sequence[int]) -> "PostArrays":
        """Return some of the posts."""
        chosen = copy(self)
        for name in ("posts", "positions", "text_counts"):
            values = getattr(self, name)
            setattr(chosen, name, [values[position] for position in positions])
        chosen.token_ids = TokenIds(self.token_ids[position] for position in positions)
        chosen.lengths = self.lengths[positions]
        return chosen

    def batches(self, size: int) -> Iterator[list[int]]:
        """Yield the positions of up to `size` posts with texts of similar length.

        Posts with an image come last, so that few batches have images of some of their posts.
        """
        has_image = np.array([post.image is not None for post in self.posts], bool)
        order = np.lexsort((self.lengths, has_image)).tolist()
        for start in range(0, len(order), size):
            yield order[start : start + size]

    @property
    def present(self) -> dict[str, Bool[np.ndarray, " batch"]]:
        """Which posts have a ``text``, an ``image``, and one of ``both``."""
        text = np.array([has_text(post.text) for post in self.posts])
        image = np.array([post.image is not None for post in self.posts])
        return {"text": text, "image": image, "both": text | image}

    @property
    def texts(self) -> list[list[int]]:
        """Word pieces of each post; none where it has no text."""
        each = zip(self.posts, self.token_ids, strict=True)
        return [ids if has_text(post.text) else [] for post, ids in each]

    @property
    def modalities(self) -> list[str]:
        """What each post has, by the names of `MODALITIES`."""
        return [MODALITIES[has_text(post.text), post.image is not None] for post in self.posts]

    def __len__(self) -> int:
        return len(self.posts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        post = self.posts[index]
        return {
            "input_ids": self.token_ids[index],
            "has_text": has_text(post.text),
            "image": post.image,
            "attributes": [self._pieces[word] for word in post.attributes],
        }


def _attribute_ids(
    posts: Sequence[Sequence[Sequence[int]]],
) -> Int[np.ndarray, "batch attribute piece"]:
    """Return the word pieces of each post's attributes, filled up with `NO_PIECE`."""
    most = max(len(words) for words in posts)
    longest = max(len(word) for words in posts for word in words)
    ids = np.full((len(posts), most, longest), NO_PIECE)
    for row, words in zip(ids, posts, strict=True):
        for place, word in zip(row, words, strict=False):
            place[: len(word)] = word
    return ids
