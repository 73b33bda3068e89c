"""Attributes of an image: the names of its objects, and words of sentiment to go with them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvcn.encoders.loading import load_tokenizer, sentiment_words
from mvcn.models.objects import ObjectClassifier, Pooling, arguments_of, pool
from mvcn.nn.pooling import masked_mean
from mvcn.types import NO_PIECE

TOP = 5
"""Attributes found for an image, as many as HFM has."""


@dataclass(frozen=True, slots=True)
class PublishedAttributes:
    """The objects that an image encoder was trained to name, and the word pieces of their names."""

    classifier: ObjectClassifier
    names: Int[Tensor, "object piece"]
    sentiments: Int[Tensor, "sentiment sentiment_piece"]

    @classmethod
    def load(
        cls, image_encoder: str, text_encoder: str, reads: Collection[str]
    ) -> "PublishedAttributes | None":
        """Load what a network needs for what it `reads`; None if it reads no attributes."""
        if not {"objects", "attributes", "pairs"} & {*reads}:
            return None
        classifier = ObjectClassifier.load(image_encoder)
        tokenizer = load_tokenizer(text_encoder)
        words = (classifier.names, sentiment_words() if "pairs" in reads else [])
        return cls(classifier, *(pad_pieces(word_pieces(tokenizer, some)) for some in words))

    @property
    def sizes(self) -> dict[str, Any]:
        """Arguments of `ImageAttributes`."""
        return {
            **arguments_of(self.classifier),
            "name_length": self.names.shape[1],
            "num_sentiments": len(self.sentiments),
            "sentiment_length": self.sentiments.shape[1],
        }


class ImageAttributes(nn.Module):
    """Finds objects in image tokens by the published classification layer of the image encoder.

    Args:
        num_objects: Classes of that layer.
        pooled_width: Width of what it reads of the image encoder's tokens.
        name_length: Word pieces of the longest name.
        num_sentiments: Words of sentiment.
        sentiment_length: Word pieces of the longest of them.
        pooling: What that is; see `mvcn.models.objects.pool`.
        leading: Number of tokens before the patches.
        norm_eps: Of the layer that normalises it; None if none does.
    """

    names: Tensor
    sentiments: Tensor

    def __init__(
        self,
        num_objects: int,
        pooled_width: int,
        name_length: int,
        num_sentiments: int = 0,
        sentiment_length: int = 0,
        pooling: Pooling = "mean",
        leading: int = 0,
        norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        self.leading = leading
        self.norm = None if norm_eps is None else nn.LayerNorm(pooled_width, norm_eps)
        self.classifier = nn.Linear(pooled_width, num_objects)
        for name, shape in (
            ("names", (num_objects, name_length)),
            ("sentiments", (num_sentiments, sentiment_length)),
        ):
            self.register_buffer(name, torch.full(shape, NO_PIECE))

    def fill(self, published: PublishedAttributes) -> None:
        """Copy a published classifier, and the word pieces of all names."""
        self.classifier.load_state_dict(published.classifier.layer.state_dict())
        if self.norm is not None and published.classifier.norm is not None:
            self.norm.load_state_dict(published.classifier.norm.state_dict())
        self.names.copy_(published.names)
        self.sentiments.copy_(published.sentiments)

    def objects(
        self, image: Float[Tensor, "batch patch dim"], mask: Bool[Tensor, "batch patch"]
    ) -> Float[Tensor, "batch object"]:
        """Return the probability of each object; zeros for a post without an image."""
        pooled = pool(image, mask, self.pooling, self.leading)
        is_read = mask[:, :1] if self.pooling == "first" else mask.any(1, keepdim=True)
        found: Tensor = self.classifier(pooled if self.norm is None else self.norm(pooled))
        found = found.softmax(-1)
        return found.masked_fill(~is_read, 0)

    def name_pieces(self, objects: Float[Tensor, "batch object"]) -> Int[Tensor, "batch top piece"]:
        """Return the word pieces of the names of the likeliest objects, the likeliest first."""
        top = min(TOP, objects.shape[1])
        found = self.names[objects.topk(top, dim=1).indices]
        return found.masked_fill(~objects.any(1)[:, None, None], NO_PIECE)


def prefer_given(
    given: Int[Tensor, "batch word piece"] | None, found: Int[Tensor, "batch top name_piece"]
) -> Int[Tensor, "batch any_word any_piece"]:
    """Return the given words, or the found ones for posts without given words."""
    if given is None:
        return found
    words, pieces = (max(given.shape[axis], found.shape[axis]) for axis in (1, 2))
    one, other = (
        nn.functional.pad(ids, (0, pieces - ids.shape[2], 0, words - ids.shape[1]), value=NO_PIECE)
        for ids in (given, found)
    )
    has_any = (one != NO_PIECE).flatten(1).any(1)
    return torch.where(has_any[:, None, None], one, other)


def word_vectors(
    pieces: Int[Tensor, "*words piece"], embeddings: nn.Module
) -> Float[Tensor, "*words dim"]:
    """Return the mean vector of each word's pieces, zeros for none; without gradients."""
    flat = pieces.flatten(0, -2)
    is_real = flat != NO_PIECE
    with torch.no_grad():
        vectors = masked_mean(embeddings(flat.clamp(min=0)), is_real)
    return vectors.view(*pieces.shape[:-1], -1)


def with_nearest(
    words: Float[Tensor, "batch word dim"], others: Float[Tensor, "other dim"]
) -> Float[Tensor, "batch word dim"]:
    """Return the mean of each word and the other that is nearest to it by cosine similarity."""
    normed = nn.functional.normalize(others, dim=-1)
    nearest = (nn.functional.normalize(words, dim=-1) @ normed.T).argmax(-1)
    return (words + others[nearest]) / 2


def word_pieces(tokenizer: Any, words: Sequence[str]) -> list[list[int]]:
    """Return the word piece ids of each word, without special tokens."""
    if not words:
        return []
    ids: list[list[int]] = tokenizer(
        list(words), add_special_tokens=False, return_attention_mask=False
    )["input_ids"]
    return ids


def pad_pieces(words: Sequence[Sequence[int]]) -> Int[Tensor, "word piece"]:
    """Return the word pieces of words as one tensor, padded with `NO_PIECE`."""
    longest = max((len(word) for word in words), default=0)
    rows = [[*word, *[NO_PIECE] * (longest - len(word))] for word in words]
    return torch.tensor(rows, dtype=torch.long).view(len(words), longest)
