"""Feature space: hand-made points, and scikit-learn's silhouette by its definition."""

import numpy as np
import pytest
import torch

from mvcn.errors import DataError
from mvcn.explain.observation import Observation, Space, measure_clusters, project, space_of
from mvcn.types import Post

NAMES = ("a", "b", "c")
POINTS = Space(np.array([[0.0, 0], [2, 0], [10, 0], [10, 4]]), np.array([0, 0, 1, 1]), NAMES)


def seen(feature):
    return Observation(None, None, torch.tensor(feature), np.array([1.0]))


def posts(*labels):
    return [Post(str(number), "x", None, label) for number, label in enumerate(labels)]


def test_centroids_and_distances_by_hand():
    np.testing.assert_array_equal(POINTS.centroids[:2], [[1, 0], [10, 2]])
    distances = POINTS.distances(np.array([1.0, 2.0]))
    assert (distances["a"], distances["b"]) == (2, 9)
    assert np.isnan(distances["c"])


def test_nearest_posts_come_first():
    assert POINTS.nearest(np.array([9.0, 3.0]), 3) == [3, 2, 1]


def test_clusters_by_hand():
    found = measure_clusters(POINTS)
    # Own distances squared: 1, 1, 4, 4. Centroids (1, 0), (10, 2) to the mean (5.5, 1): 21.25 each.
    assert found.within_between == pytest.approx(2.5 / 21.25)
    silhouettes = []
    for i, point in enumerate(POINTS.features):
        far = np.linalg.norm(POINTS.features - point, axis=1)
        own = far[(POINTS.labels == POINTS.labels[i])].sum()  # of one other; itself counts 0
        other = far[POINTS.labels != POINTS.labels[i]].mean()
        silhouettes.append((other - own) / max(own, other))
    assert found.silhouette == pytest.approx(np.mean(silhouettes))


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1]])
def test_one_class_or_one_post_a_class_has_no_clusters(labels):
    assert measure_clusters(Space(POINTS.features[: len(labels)], np.array(labels), NAMES)) is None


def test_centroids_in_one_place_have_no_clusters():
    assert measure_clusters(Space(np.zeros((4, 2)), np.array([0, 0, 1, 1]), NAMES)) is None


def test_labels_become_numbers_and_unknown_ones_are_reported():
    space = space_of([seen((1.0, 2.0)), seen((3.0, 4.0))], posts("b", "a"), NAMES)
    assert space.labels.tolist() == [1, 0]
    assert space.features.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(DataError, match="label 'x'"):
        space_of([seen((1.0, 2.0))], posts("x"), NAMES)


@pytest.mark.parametrize("kind", ["t-sne", "pca"])
def test_maps_keep_apart_what_is_far_apart(kind):
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    features = random.normal(size=(60, 6)) + 40 * labels[:, None]
    places, centroids = project(Space(features, labels, NAMES), kind)
    assert places.shape == (60, 2)
    assert set(centroids) == {0, 1}
    for k in (0, 1):
        to = [np.linalg.norm(places[labels == k] - centroids[j], axis=1).mean() for j in (0, 1)]
        assert to[k] < to[1 - k]
    again, _ = project(Space(features, labels, NAMES), kind)
    np.testing.assert_array_equal(places, again)


@pytest.mark.parametrize("kind", ["t-sne", "pca"])
@pytest.mark.parametrize("posts", [1, 2, 5])
@pytest.mark.parametrize("step", [0.0, 1.0])
def test_few_posts_and_posts_in_one_place_have_a_map(kind, posts, step):
    features = np.outer(np.arange(posts), np.full(3, step))
    places, centroids = project(Space(features, np.arange(posts) % 3, NAMES), kind)
    assert places.shape == (posts, 2)
    assert np.isfinite([*places, *centroids.values()]).all()


def test_pca_keeps_most_of_the_variance():
    from sklearn.decomposition import PCA

    features = np.random.default_rng(1).normal(size=(20, 5)) * [5, 1, 3, 1, 1]
    places, _ = project(Space(features, np.zeros(20, int), NAMES), "pca")
    expected = PCA(2).fit_transform(features)
    np.testing.assert_allclose(abs(places), abs(expected), atol=1e-9)
