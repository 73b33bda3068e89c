"""Outputs of a model for posts: attention and its sparsity, fused features and their clusters."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from torch import Tensor

from mvcn.data.posts import label_ids
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.models.network import MvcnOutput, probabilities
from mvcn.nn.attention import MultiHeadAttention, Normalizer
from mvcn.nn.fusion import TextGuidedFusion
from mvcn.types import Post

MapKind = Literal["t-sne", "pca"]

BATCH_SIZE = 50
MAP_SEED = 0
MAX_PERPLEXITY = 30.0
POSTS_PER_PERPLEXITY = 4


@dataclass(frozen=True, slots=True)
class Observation:
    """Outputs of a model for one post."""

    weights: Float[Tensor, "head token patch"] | None
    """Text-to-image attention of the last text-guided unit, padding removed; None without one."""
    token_weights: Float[Tensor, " token"] | None
    """Share of each text token in the fused feature; None from networks without shares."""
    feature: Float[Tensor, " dim"]
    """The fused feature z of the paper."""
    probabilities: Float[np.ndarray, " classes"]
    """Calibrated."""
    disagreement: float | None = None
    """See `MvcnOutput`; None without members."""


@dataclass(frozen=True, slots=True)
class Sparsity:
    """Text-to-image attention weights of posts, sorted, whichever image tokens they belong to."""

    weights: Float[np.ndarray, "post patch"]
    """Weights of each post in descending order, averaged over heads and text tokens."""
    zeros: float
    """Share of the weights that are exactly 0, mean over posts."""


def observe(model: MvcnForClassification, posts: EncodedPosts) -> Iterator[Observation]:
    """Yield the outputs for each post, in order, and leave the model in evaluation mode."""
    model.eval()
    config = model.config
    for start in range(0, len(posts), BATCH_SIZE):
        inputs = posts.inputs(range(start, min(start + BATCH_SIZE, len(posts))))
        with torch.inference_mode():
            output = model(**inputs, output_attentions=True)
        rows = probabilities(output.logits, config.temperature, config.logit_offsets).numpy()
        for position, is_real in enumerate(inputs["attention_mask"].bool()):
            yield _observation(output, position, is_real, rows[position])


def mean_attention(weights: Float[Tensor, "head token patch"]) -> Float[Tensor, " patch"]:
    """Return the weight of each image token, averaged over heads and text tokens."""
    return weights.double().mean((0, 1))


def measure_sparsity(observations: Iterable[Observation]) -> Sparsity | None:
    """Return the sparsity of the attention of posts; None without any.

    Posts without an image, whose weights are all 0, are ignored.
    """
    ordered, zeros = [], []
    for seen in observations:
        if seen.weights is not None and bool(seen.weights.any()):
            descending = seen.weights.double().sort(-1, descending=True).values
            ordered.append(descending.mean((0, 1)))
            zeros.append(float((seen.weights == 0).double().mean()))
    if not ordered:
        return None
    return Sparsity(torch.stack(ordered).numpy(), float(np.mean(zeros)))


def each_normalizer(model: MvcnForClassification) -> Iterator[Normalizer]:
    """Yield each normalizer, the model's own first, while the last text-guided units use it.

    The attention scores stay the same. Networks without such units yield nothing.
    """
    attentions = [
        unit
        for fusion in text_guided(model)
        if isinstance(unit := fusion.units[-1].image_attention, MultiHeadAttention)
    ]
    if not attentions:
        return
    own: Normalizer = attentions[0].normalizer
    names: list[Normalizer] = sorted(get_args(Normalizer), key=lambda name: name != own)
    try:
        for name in names:
            _set_normalizer(attentions, name)
            yield name
    finally:
        _set_normalizer(attentions, own)


def text_guided(model: MvcnForClassification) -> list[TextGuidedFusion]:
    """Return the text-guided units of each member; none for other networks."""
    return [one for one in model.network.modules() if isinstance(one, TextGuidedFusion)]


def _set_normalizer(attentions: Iterable[MultiHeadAttention], name: Normalizer) -> None:
    for attention in attentions:
        attention.normalizer = name


def _observation(
    output: MvcnOutput,
    position: int,
    is_real: Bool[Tensor, " token"],
    row: Float[np.ndarray, " classes"],
) -> Observation:
    attentions, shares = output.fusion_attentions, output.token_weights
    assert output.fused_feature is not None  # every network returns it
    return Observation(
        None if attentions is None else attentions[-1][position][:, is_real],
        None if shares is None else shares[position, is_real],
        output.fused_feature[position].clone(),
        row,
        None if output.disagreement is None else float(output.disagreement[position]),
    )


@dataclass(frozen=True, slots=True)
class Space:
    """Fused features of posts, their classes, and the mean of each class."""

    features: Float[np.ndarray, "post dim"]
    labels: Int[np.ndarray, " post"]
    class_names: Sequence[str]

    @property
    def centroids(self) -> Float[np.ndarray, "classes dim"]:
        """The class means; NaN for a class without posts."""
        rows = [self.features[self.labels == k] for k in range(len(self.class_names))]
        return np.stack(
            [row.mean(0) if len(row) else np.full(self.features.shape[1], np.nan) for row in rows]
        )

    def distances(self, feature: Float[np.ndarray, " dim"]) -> dict[str, float]:
        """Return class name -> Euclidean distance of a feature to its centroid."""
        found = np.linalg.norm(self.centroids - feature, axis=1).tolist()
        return dict(zip(self.class_names, found, strict=True))

    def nearest(self, feature: Float[np.ndarray, " dim"], count: int) -> list[int]:
        """Return the positions of the nearest posts, nearest first."""
        found: list[int] = (
            np.linalg.norm(self.features - feature, axis=1).argsort()[:count].tolist()
        )
        return found


@dataclass(frozen=True, slots=True)
class Clusters:
    """How well the classes are separated."""

    silhouette: float
    """Mean silhouette coefficient of the posts, -1 to 1 (Rousseeuw, 1987)."""
    within_between: float
    """Mean squared distance of posts to their centroid over that of centroids to the mean."""


def space_of(
    observations: Iterable[Observation], posts: Sequence[Post], class_names: Sequence[str]
) -> Space:
    """Return the space of labelled posts from the outputs for them.

    Raises:
        DataError: A label that is not among the classes.
    """
    labels = np.array(label_ids(posts, class_names))
    features = np.stack([seen.feature.numpy() for seen in observations]).astype(np.float64)
    return Space(features, labels, class_names)


def measure_clusters(space: Space) -> Clusters | None:
    """Return how well the classes of a space are separated.

    None where this is undefined: posts of fewer than two classes, one post per class, or
    identical centroids.
    """
    present = np.unique(space.labels)
    if len(present) < 2 or len(present) == len(space.labels):  # noqa: PLR2004
        return None
    centroids = space.centroids
    own = np.square(space.features - centroids[space.labels]).sum(1).mean()
    weights = np.bincount(space.labels, minlength=len(centroids))[present] / len(space.labels)
    apart = np.square(centroids[present] - space.features.mean(0)).sum(1)
    between = float(weights @ apart)
    if between == 0:
        return None
    return Clusters(float(silhouette_score(space.features, space.labels)), float(own / between))


def project(space: Space, kind: MapKind) -> tuple[np.ndarray, Mapping[int, np.ndarray]]:
    """Return a two-dimensional position for each post, and class number -> that of its centroid.

    t-SNE embeds centroids as if they were posts; PCA applies the projection of the posts. Identical
    posts have no t-SNE and stay where PCA puts them.

    Source:
        van der Maaten and Hinton, JMLR 2008.
    """
    present = np.unique(space.labels).tolist()
    rows = np.concatenate([space.features, space.centroids[present]])
    places = _principal_places(space.features, rows)
    spread = places[:, 0].std()
    if kind == "t-sne" and spread > 0:
        perplexity = np.clip(len(rows) / POSTS_PER_PERPLEXITY, 1, MAX_PERPLEXITY)
        start = places / spread * 1e-4  # the scale that t-SNE needs for its initialization
        tsne = TSNE(2, perplexity=perplexity, init=start, random_state=MAP_SEED)
        places = tsne.fit_transform(rows)
    count = len(space.features)
    return places[:count], dict(zip(present, places[count:], strict=True))


def _principal_places(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the two leading principal components of rows; 0 for missing components."""
    mean = features.mean(0)
    _, _, directions = np.linalg.svd(features - mean, full_matrices=False)
    found: np.ndarray = (rows - mean) @ directions[:2].T
    return np.pad(found, [(0, 0), (0, 2 - found.shape[1])])
