"""The plain training script that ours is measured against.

All parameters are trained, token embeddings included, by `torch.optim.AdamW` as it is by default.
Random batches of 16 are padded to their own longest text (and not to the longest of all, which
would be slower). Attention to the image is sparsemax of the entmax package, the queue
is a tensor that is shifted and averaged anew in each step. The auxiliary heads of our recipe and
its clipping of gradients are left out, which is in favour of this script.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from entmax import sparsemax
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import AutoModel

from mvcn.encoders.loading import packaged_folder

BATCH_SIZE = 16
QUEUE_SIZE = 3600
CLASSES = 3
DIM, HEADS, FEEDFORWARD, PATCH_DIM = 384, 6, 768, 1280
DROPOUT = 0.1
CONGRUITY_WEIGHT = 0.1
LEARNING_RATE = 2e-5

Row = tuple[Tensor, Tensor, int]
"""Word pieces, image features or pixels, class."""
Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Word pieces, their mask, images, classes."""
Queue = tuple[Tensor, Tensor]
"""Features and their classes."""


class PlainSparseAttention(nn.Module):
    """Text tokens look at image tokens with sparsemax weights."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """Return what the tokens collect."""
        q, k, v = (
            layer(tokens).unflatten(-1, (self.heads, -1))
            for layer, tokens in ((self.query, text), (self.key, image), (self.value, image))
        )
        scores = torch.einsum("bthd,bphd->bhtp", q, k) / q.shape[-1] ** 0.5
        return self.out(torch.einsum("bhtp,bphd->bthd", sparsemax(scores, dim=-1), v).flatten(2))


class PlainClassifier(nn.Module):
    """Two encoders, one text-guided unit, attention pooling and a linear classifier.

    Args:
        text_encoder: Trained with the rest.
        image_encoder: Trained, too; None if image features are given in place of pixels.
        patch_dim: Width of image features.
        dim: Width of the fusion, and of the text encoder.
        heads: Attention heads of the fusion.
        feedforward: Inner width of its feed-forward layers.
    """

    def __init__(
        self,
        text_encoder: nn.Module,
        image_encoder: nn.Module | None = None,
        patch_dim: int = PATCH_DIM,
        dim: int = DIM,
        heads: int = HEADS,
        feedforward: int = FEEDFORWARD,
    ) -> None:
        super().__init__()
        self.text_encoder, self.image_encoder = text_encoder, image_encoder
        self.text_projection = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim))
        self.image_projection = nn.Sequential(nn.LayerNorm(patch_dim), nn.Linear(patch_dim, dim))
        self.self_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.image_attention = PlainSparseAttention(dim, heads)
        self.feedforward = _two_layers(dim, feedforward, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.dropout = nn.Dropout(DROPOUT)
        self.score, self.mix = _two_layers(dim, dim, 1), _two_layers(dim, dim, dim)
        self.classifier = nn.Linear(dim, CLASSES)

    def forward(self, input_ids: Tensor, mask: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and fused features."""
        if self.image_encoder is not None:
            image = self.image_encoder(pixel_values=image).last_hidden_state
        hidden = self.text_encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        text, image = self.text_projection(hidden), self.image_projection(image)
        read, _ = self.self_attention(text, text, text, key_padding_mask=mask == 0)
        text = self.norms[0](text + self.dropout(read))
        text = self.norms[1](text + self.dropout(self.image_attention(text, image)))
        text = self.norms[2](text + self.dropout(self.feedforward(text)))
        weights = self.score(text).masked_fill(mask.unsqueeze(-1) == 0, -1e4).softmax(1)
        fused = self.mix((weights * text).sum(1))
        return self.classifier(fused), fused


def small_classifier() -> PlainClassifier:
    """Return the classifier around the packaged MiniLM-L6."""
    return PlainClassifier(AutoModel.from_pretrained(packaged_folder("minilm-l6")))


def time_epoch(rows: Sequence[Row], warm_up_steps: int) -> float:
    """Train for one epoch; return the seconds of the steps after the warm-up."""
    model = small_classifier().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    queue = random_queue(QUEUE_SIZE, DIM)
    loader: Any = DataLoader(rows, BATCH_SIZE, shuffle=True, collate_fn=collate)
    started = time.perf_counter()
    for step, batch in enumerate(loader, start=1):
        queue = train_step(model, optimizer, batch, queue)
        if step == warm_up_steps:
            started = time.perf_counter()
    return time.perf_counter() - started


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, queue: Queue
) -> Queue:
    """Train on a batch; return the queue after it."""
    ids, mask, image, labels = batch
    logits, fused = model(ids, mask, image)
    loss = F.cross_entropy(logits, labels) + CONGRUITY_WEIGHT * _congruity(fused, labels, queue)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return _shift(queue, (fused.detach(), labels))


def random_queue(size: int, dim: int) -> Queue:
    """Return a full queue of random features."""
    return torch.randn(size, dim), torch.arange(size) % CLASSES


def _two_layers(dim: int, inner: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim, inner), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(inner, out)
    )


def collate(rows: Sequence[Row]) -> Batch:
    """Return word pieces, their mask, images and classes of some posts."""
    ids = pad_sequence([ids for ids, _, _ in rows], batch_first=True)
    mask = pad_sequence([torch.ones_like(ids) for ids, _, _ in rows], batch_first=True)
    images = torch.stack([image for _, image, _ in rows])
    return ids, mask, images, torch.tensor([label for _, _, label in rows])


def _congruity(fused: Tensor, labels: Tensor, queue: Queue) -> Tensor:
    features, classes = queue
    centroids = torch.stack([features[classes == k].mean(0) for k in range(CLASSES)])
    distances = (fused.unsqueeze(1) - centroids).square().sum(-1)
    own = distances.gather(1, labels.unsqueeze(1)).squeeze(1)
    return (own / ((distances.sum(1) - own) / (CLASSES - 1))).mean()


def _shift(queue: Queue, new: Queue) -> Queue:
    size = len(queue[0])
    features, labels = (
        torch.cat([old, added])[-size:] for old, added in zip(queue, new, strict=True)
    )
    return features, labels
