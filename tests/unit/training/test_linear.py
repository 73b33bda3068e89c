"""Linear models equal the plain script of scikit-learn, and no fold chooses its own penalty."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mvcn.training.linear import (
    INVERSE_PENALTIES,
    cross_validate,
    fit_linear,
    predict_out_of_fold,
)

pytestmark = pytest.mark.usefixtures("all_penalties")


def draw(posts=90, dim=7, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(posts) % classes)
    features = generator.normal(3, 2, size=(posts, dim)) + np.eye(classes, dim)[labels]
    return features.astype(np.float32), labels, generator.permutation(np.arange(posts) % 5)


def script(inverse_penalty):
    return make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=300))


@pytest.mark.parametrize("dim", [7, 400])
@pytest.mark.parametrize("classes", [2, 3])
def test_every_penalty_gives_the_probabilities_of_scikit_learn(dim, classes):
    features, labels, _ = draw(dim=dim, classes=classes)
    found = fit_linear(features, labels, classes, INVERSE_PENALTIES)
    for inverse_penalty, model in zip(INVERSE_PENALTIES, found, strict=True):
        expected = script(inverse_penalty).fit(features, labels).predict_proba(features)
        np.testing.assert_allclose(model.probabilities(features), expected, atol=2e-3)


def test_the_chosen_model_is_that_of_the_plain_script():
    features, labels, folds = draw(dim=40)

    def score(inverse_penalty):
        found = cross_val_predict(
            script(inverse_penalty), features, labels, cv=PredefinedSplit(folds)
        )
        return accuracy_score(labels, found) + f1_score(labels, found, average="weighted")

    best = max(INVERSE_PENALTIES, key=score)
    expected = script(best).fit(features, labels).predict_proba(features)
    found = cross_validate(features, labels, folds, 3).model.probabilities(features)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_fold_has_the_penalty_that_is_best_for_the_others():
    features, labels, folds = draw(dim=40)
    each = [
        cross_val_predict(script(one), features, labels, cv=PredefinedSplit(folds))
        for one in INVERSE_PENALTIES
    ]
    found = predict_out_of_fold(features, labels, folds, 3).argmax(1)
    for fold in range(5):
        others = folds != fold
        scores = [
            accuracy_score(labels[others], one[others])
            + f1_score(labels[others], one[others], average="weighted")
            for one in each
        ]
        np.testing.assert_array_equal(found[~others], each[int(np.argmax(scores))][~others])


def test_the_label_of_a_post_has_no_part_in_its_own_prediction():
    features, labels, folds = draw()
    changed = np.where(folds == 0, (labels + 1) % 3, labels)
    one, other = (
        predict_out_of_fold(features, given, folds, 3)[folds == 0] for given in (labels, changed)
    )
    np.testing.assert_allclose(one, other, atol=0.05)  # of the penalty alone


def test_a_share_of_the_other_folds_gives_a_weaker_model():
    features, labels, folds = draw(posts=400)
    right = [
        (predict_out_of_fold(features, labels, folds, 3, share).argmax(1) == labels).mean()
        for share in (0.03, 1.0)
    ]
    assert right[0] < right[1] - 0.05


def test_a_class_without_posts_is_never_predicted_and_a_single_one_always():
    features, labels, _ = draw()
    found = fit_linear(features[labels != 1], labels[labels != 1], 3)[0].probabilities(features)
    assert not found[:, 1].any()
    np.testing.assert_allclose(found.sum(1), 1)
    alone = fit_linear(features, np.full(90, 2), 3)[0].probabilities(features)
    np.testing.assert_array_equal(alone, np.tile([0, 0, 1], (90, 1)))


def test_without_folds_the_usual_penalty_is_used():
    features, labels, _ = draw()
    found = cross_validate(features, labels, np.zeros(90, np.int64), 3).model
    np.testing.assert_array_equal(found.weight, fit_linear(features, labels, 3)[0].weight)
