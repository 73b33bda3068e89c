"""How posts lie in the space of fused features: neighbours, centroids, clusters, maps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from mvcn.data.posts import label_ids
from mvcn.explain.observation import Observation
from mvcn.types import Post

MapKind = Literal["t-sne", "pca"]

MAP_SEED = 0
MAX_PERPLEXITY = 30.0
POSTS_PER_PERPLEXITY = 4


@dataclass(frozen=True, slots=True)
class Space:
    """Fused features of posts, their classes, and the mean of each class."""

    features: Float[np.ndarray, "post dim"]
    labels: Int[np.ndarray, " post"]
    class_names: Sequence[str]

    @property
    def centroids(self) -> Float[np.ndarray, "classes dim"]:
        """The class means, no number where a class has no post."""
        rows = [self.features[self.labels == k] for k in range(len(self.class_names))]
        return np.stack(
            [row.mean(0) if len(row) else np.full(self.features.shape[1], np.nan) for row in rows]
        )

    def distances(self, feature: Float[np.ndarray, " dim"]) -> dict[str, float]:
        """Return class name -> Euclidean distance of a feature to its centroid."""
        found = np.linalg.norm(self.centroids - feature, axis=1).tolist()
        return dict(zip(self.class_names, found, strict=True))

    def nearest(self, feature: Float[np.ndarray, " dim"], count: int) -> list[int]:
        """Return the positions of the nearest posts, the nearest first."""
        found: list[int] = (
            np.linalg.norm(self.features - feature, axis=1).argsort()[:count].tolist()
        )
        return found


@dataclass(frozen=True, slots=True)
class Clusters:
    """How well the classes lie apart."""

    silhouette: float
    """Mean over posts of how much nearer its class is than the next, -1 to 1 (Rousseeuw, 1987)."""
    within_between: float
    """Mean squared distance to the own centroid over that of centroids to the mean of all."""


def space_of(
    observations: Iterable[Observation], posts: Sequence[Post], class_names: Sequence[str]
) -> Space:
    """Return the space of labelled posts that a model has seen.

    Raises:
        DataError: A label that is not among the classes.
    """
    labels = np.array(label_ids(posts, class_names))
    features = np.stack([seen.feature.numpy() for seen in observations]).astype(np.float64)
    return Space(features, labels, class_names)


def measure_clusters(space: Space) -> Clusters | None:
    """Return how well the classes of a space lie apart.

    None where that has no meaning: posts of fewer than two classes, one post a class, or all
    centroids in one place.
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
    """Return a place in the plane for each post, and class number -> that of its centroid.

    t-SNE places centroids as if they were posts, PCA by the same projection. Posts that all lie
    in one place have no t-SNE, and stay there.

    Source:
        van der Maaten and Hinton, JMLR 2008.
    """
    present = np.unique(space.labels).tolist()
    rows = np.concatenate([space.features, space.centroids[present]])
    places = _principal_places(space.features, rows)
    spread = places[:, 0].std()
    if kind == "t-sne" and spread > 0:
        perplexity = np.clip(len(rows) / POSTS_PER_PERPLEXITY, 1, MAX_PERPLEXITY)
        start = places / spread * 1e-4  # as the method asks of a starting place
        tsne = TSNE(2, perplexity=perplexity, init=start, random_state=MAP_SEED)
        places = tsne.fit_transform(rows)
    count = len(space.features)
    return places[:count], dict(zip(present, places[count:], strict=True))


def _principal_places(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return rows along the two directions of most variance; 0 along those that there are not."""
    mean = features.mean(0)
    _, _, directions = np.linalg.svd(features - mean, full_matrices=False)
    found: np.ndarray = (rows - mean) @ directions[:2].T
    return np.pad(found, [(0, 0), (0, 2 - found.shape[1])])
