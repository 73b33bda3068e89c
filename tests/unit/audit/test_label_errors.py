import numpy as np
import pytest

from mvcn.audit.audit import audit
from mvcn.audit.label_errors import likely_label_errors
from mvcn.data.images import describe_image
from mvcn.data.near_duplicates import duplicate_groups
from mvcn.data.synthetic import generate_posts
from mvcn.errors import DataError
from mvcn.training.teacher import out_of_fold_probabilities
from mvcn.types import Post


@pytest.mark.slow
def test_wrong_labels_of_generated_posts_are_suspected_more_than_right_ones(audited):
    posts = [one.post for one in generate_posts(360, seed=2)]
    posts = [post for post in posts if post.text_label == post.image_label != "neutral"]
    other = {"positive": "negative", "negative": "positive"}
    wrong = set(range(5, len(posts), 10))
    audited_posts = audited(
        id=[post.id for post in posts],
        text=[post.text for post in posts],
        label=[other[post.label] if i in wrong else post.label for i, post in enumerate(posts)],
        class_names=tuple(other),
    )
    details = audit(audited_posts, True)["label_errors"].details
    suspects = {row["id"]: row for row in details["posts"]}
    assert list(suspects) == doubted_by_a_report(audited_posts)
    found = [post.id in suspects for post in posts]
    assert np.mean([found[i] for i in wrong]) > 0.5
    assert np.mean([one for i, one in enumerate(found) if i not in wrong]) < 0.2
    for row in suspects.values():
        assert row["suggested"] == other[row["given"]]
    confidences = [row["probability_of_given"] for row in details["posts"]]
    assert confidences == sorted(confidences)


def doubted_by_a_report(audited_posts):
    """Return the ids that `mvcn report` would list if its model had the audit's probabilities."""
    from mvcn.audit.label_errors import post_features

    posts, facts, names = audited_posts.posts, audited_posts.facts, audited_posts.class_names
    labels = np.array([sorted(names).index(post.label) for post in posts])
    groups = duplicate_groups([post.text for post in posts], facts)
    features = post_features(posts, facts)
    probabilities = out_of_fold_probabilities(features, labels, groups, len(names))
    return [posts[i].id for i in likely_label_errors(probabilities, labels)]


@pytest.mark.slow
def test_features_are_means_that_do_not_depend_on_other_posts_and_zero_where_nothing_is():
    from mvcn.audit.label_errors import post_features

    posts = [one.post for one in generate_posts(3, seed=2)]
    posts += [Post("text", posts[0].text, None), Post("nothing", " ", None)]
    posts += [Post("bad", "", b"not an image")]
    facts = [None if post.image is None else describe_image(post.image) for post in posts]
    features = post_features(posts, facts)
    text, image = features[:, : 4 * 384], features[:, 4 * 384 :]
    np.testing.assert_allclose(text[3], text[0], atol=1e-5)
    np.testing.assert_array_equal(features[4:], 0)
    np.testing.assert_array_equal(image[3], 0)
    np.testing.assert_allclose(post_features(posts[1:2], facts[1:2])[0], features[1], atol=1e-5)
    assert len(np.unique(image[:3].sum(axis=1))) == 3


def test_too_few_posts_are_named(audited):
    with pytest.raises(DataError, match="'b' has 4 post"):
        audit(audited(text=["x"] * 9, label=["a"] * 5 + ["b"] * 4), True)
    with pytest.raises(DataError, match="two classes"):
        audit(audited(text=["x"] * 9, label=["a"] * 9), True)


def test_they_are_searched_only_when_requested(audited):
    assert audit(audited(text=["x"]))["label_errors"].details == {"searched": False}
