"""The explanation of one post: the same scores as prediction, and nothing left changed."""

import dataclasses
import io
import json
import resource
import shutil

import pytest
import torch
from PIL import Image

from mvcn.explain.figures import draw_maps, draw_post
from mvcn.explain.post import NEIGHBOURS, explain
from mvcn.explain.run import FEATURES_FILE, TrainedRun
from mvcn.inference.classifier import Classifier


@pytest.fixture(scope="module")
def run(tiny_run):
    return TrainedRun(tiny_run)


@pytest.fixture(scope="module")
def explained(run):
    posts = [*run.posts.dev[:2], dataclasses.replace(run.posts.dev[2], image=None)]
    posts.append(dataclasses.replace(run.posts.dev[3], text=" "))
    posts.append(run.posts.train[0])
    train = run.train.posts
    prepared = run.encode(posts)
    return list(explain(run.model, run.processor, prepared, "occlusion", run.train_space, train))


def test_probabilities_are_those_of_prediction(run, explained):
    predictions = Classifier.from_pretrained(run.folder).predict([one.post for one in explained])
    for prediction, explanation in zip(predictions, explained, strict=True):
        assert explanation.probabilities == pytest.approx(prediction.probabilities, abs=1e-5)
        assert explanation.predicted == prediction.label


def test_shares_of_words_leave_only_the_marks_at_both_ends(explained):
    for explanation in explained[:3]:
        shares = [word.share for word in explanation.words]
        assert all(share >= 0 for share in shares)
        assert sum(shares) <= 1 + 1e-6


def test_what_is_missing_is_not_explained(explained):
    _, _, imageless, textless, _ = explained
    assert imageless.saliency is None
    assert imageless.attention == {}
    assert textless.words == []
    assert textless.saliency is not None


def test_the_models_own_attention_comes_first_and_both_are_shares(run, explained):
    attention = explained[0].attention
    assert list(attention) == ["sparsemax", "softmax"]
    for weights in attention.values():
        assert weights.sum().item() == pytest.approx(1, abs=1e-5)
    assert (attention["softmax"] > 0).all()
    assert run.model.network.fusion.units[-1].image_attention.normalizer == "sparsemax"


def test_neighbours_are_the_nearest_training_posts_but_itself(run, explained):
    space, train = run.train_space, run.train.posts
    for explanation in explained:
        near = explanation.neighbours
        assert len(near) == NEIGHBOURS
        assert [n.distance for n in near] == sorted(n.distance for n in near)
        assert explanation.post.id not in {n.post.id for n in near}
    own = explained[-1]
    feature = space.features[[post.id for post in train].index(own.post.id)]
    assert own.distances == pytest.approx(space.distances(feature), rel=1e-4)


def test_numbers_are_json(explained):
    for explanation in explained:
        assert json.loads(json.dumps(explanation.to_mapping()))["id"] == explanation.post.id


def test_pictures_are_drawn_of_every_kind_of_post(explained):
    for explanation in explained:
        assert Image.open(io.BytesIO(draw_post(explanation))).size[0] > 1000


def test_maps_are_drawn_side_by_side(run):
    drawn = draw_maps({"one": run.shown_space, "other": run.train_space})
    assert Image.open(io.BytesIO(drawn)).format == "PNG"


def test_training_features_are_kept_and_those_of_other_posts_are_not_taken(run, tiny_run):
    first = run.train_space
    assert (tiny_run / FEATURES_FILE).is_file()
    again = TrainedRun(tiny_run)
    torch.testing.assert_close(again.train_space.features, first.features, rtol=0, atol=0)
    assert again.train_space.labels.tolist() == first.labels.tolist()
    other = TrainedRun(tiny_run)
    other.posts = dataclasses.replace(other.posts, train=other.posts.train[:5])
    assert len(other.train_space.features) == 5
    (tiny_run / FEATURES_FILE).write_bytes(b"damaged")
    restored = TrainedRun(tiny_run)
    torch.testing.assert_close(restored.train_space.features, first.features, rtol=0, atol=1e-5)


def test_features_that_cannot_be_kept_are_told_and_used(run, tmp_path, caplog):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    (folder / FEATURES_FILE).unlink(missing_ok=True)
    moved = TrainedRun(folder)
    prepared = moved.train  # its images may be read for the first time, and kept elsewhere
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        space = moved.train_space
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(space.features) == len(prepared.posts)
    assert f"{folder / FEATURES_FILE} cannot be written" in caplog.text
    assert not (folder / FEATURES_FILE).exists()
