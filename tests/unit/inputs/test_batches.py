"""From posts to batches: labels by name, missing images marked."""

import tracemalloc

import numpy as np
import pytest
import torch

from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.images import ImageFeatures
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.runtime.images import ImagePixels
from mvcn.runtime.text_counts import TextCounts
from mvcn.types import Post

CLASSES = ("bad", "fair", "good")


@pytest.fixture(scope="module")
def model_and_processor(tiny_settings):
    torch.manual_seed(0)
    config = ModelConfig(**tiny_settings)
    return build_model(config, CLASSES).eval(), build_processor(config)


@pytest.fixture(params=["pixels", "kept pixels", "features"])
def images(request, model_and_processor, tmp_path, generated_posts):
    model, processor = model_and_processor
    if request.param == "features":
        made = ImageFeatures(model, processor, tmp_path)
    else:
        made = ImagePixels(processor, keep=request.param == "kept pixels")
    assert made.encode(generated_posts[:6]) == {}
    return made


def encoded(posts, processor, class_names=None):
    return PostEncoder(processor, None).encode(posts, class_names=class_names)


def without_image(post):
    return Post(post.id, post.text, None)


def test_labels_become_the_models_integers(model_and_processor):
    posts = [Post("1", "x", b"?", "good", "bad", "fair"), Post("2", "y", b"?")]
    rows = encoded(posts, model_and_processor[1], CLASSES)
    names = ("labels", "text_labels", "image_labels")
    assert [[row[name] for name in names] for row in rows] == [[2, 0, 1], [-1, -1, -1]]


def test_labels_are_not_read_without_a_table(model_and_processor):
    (row,) = encoded([Post("1", "x", None, "no such class")], model_and_processor[1])
    assert row["labels"] == -1


def test_attributes_are_read_as_words_of_the_text(tiny_settings):
    processor = build_processor(ModelConfig(**tiny_settings, append_attributes=True))
    post = Post("1", "so cute", None, attributes=("black", "cat"))
    (row,) = encoded([post], processor)
    (same,) = encoded([Post("1", "so cute . black cat", None)], processor)
    assert row["input_ids"] == same["input_ids"]
    (other,) = encoded([Post("1", "so cute", None)], processor)
    assert len(other["input_ids"]) < len(row["input_ids"])


def test_batches_hold_the_posts_in_order(model_and_processor, images, generated_posts):
    _, processor = model_and_processor
    posts = generated_posts[:6]
    names = ("positive", "neutral", "negative")
    encoded = PostEncoder(processor, images).encode(posts, class_names=names)
    batch = encoded.collate([*encoded])
    assert batch["labels"].tolist() == [names.index(post.label) for post in posts]
    assert batch["image_mask"].all()
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    for post, image in zip(posts, batch[images.input_name], strict=True):
        np.testing.assert_array_equal(image, images[post.image])


@pytest.mark.parametrize("missing", [(0,), (1, 3), (0, 1, 2, 3)])
def test_missing_images_are_masked_and_change_no_logits(
    model_and_processor, images, generated_posts, missing
):
    model, processor = model_and_processor
    posts = [without_image(p) if i in missing else p for i, p in enumerate(generated_posts[:4])]
    encoded = PostEncoder(processor, images).encode(posts)
    batch = encoded.collate([*encoded])
    assert batch["image_mask"].tolist() == [i not in missing for i in range(4)]
    logits = [
        model(**{name: t for name, t in part.items() if "labels" not in name}).logits
        for part in (batch, encoded.collate([encoded[0]]))
    ]
    torch.testing.assert_close(logits[0][:1], logits[1], atol=1e-5, rtol=0)
    assert logits[0].isfinite().all()


def test_labels_of_a_missing_text_or_image_are_taken_as_given(model_and_processor):
    posts = [
        Post("a", "words", b"x", "good", "bad", "good"),
        Post("b", " ", b"x", "good", None, "good"),
        Post("c", "words", None, "good", "bad", "good"),
        Post("d", "", None, "good", None, None),
    ]
    found = encoded(posts, model_and_processor[1], CLASSES)
    assert [row["text_labels"] for row in found] == [0, -1, 0]
    assert [row["image_labels"] for row in found] == [2, 2, 2]
    assert found.labels.tolist() == [2, 2, 2]
    assert found.modalities == ["text and image", "image alone", "text alone"]
    assert list(found.left_out) == ["d"]


class TestTextCounts:
    def test_are_of_each_post_that_is_read(self, model_and_processor):
        posts = [Post("1", "a" * 99, None), Post("2", "", None), Post("3", "b\u4e2d", b"?")]
        found = PostEncoder(model_and_processor[1], None).encode(posts, "drop")
        expected = [TextCounts(1, 1, 62, 0, 64), TextCounts(1, 0, 2, 1, 64)]
        assert found.text_counts == expected
        assert found.select([1]).text_counts == expected[1:]

    def test_are_zero_where_no_text_is_read(self, model_and_processor, images, generated_posts):
        encoder = PostEncoder(model_and_processor[1], images, ("image",))
        assert encoder.encode(generated_posts[:2]).text_counts == [TextCounts()] * 2


def test_what_is_held_of_many_posts_is_little_more_than_their_word_pieces(model_and_processor):
    posts = [Post(str(i), f"{i} and some words", None, "good", "bad", "fair") for i in range(3_000)]
    encoder = PostEncoder(model_and_processor[1], None)
    encoder.encode(posts[:100], class_names=CLASSES)
    tracemalloc.start()
    found = encoder.encode(posts, class_names=CLASSES)
    held, largest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pieces = 8 * found.lengths.sum()
    assert held - pieces < 100 * len(posts)
    assert largest - pieces < 1_500 * len(posts)
