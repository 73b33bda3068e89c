"""Words for what is in an image: given ones first, found ones else."""

import pytest
import torch
from torch import nn

from mvcn.models.image_attributes import (
    NO_PIECE,
    ImageAttributes,
    pad_pieces,
    prefer_given,
    with_nearest,
    word_vectors,
)

MASK = torch.tensor([[True, True], [False, False]])


def image_attributes(pooling="mean"):
    torch.manual_seed(0)
    module = ImageAttributes(7, 4, 3, pooling=pooling, leading=1)
    module.names.copy_(torch.arange(21).view(7, 3))
    return module, torch.randn(2, 2, 4)


@pytest.mark.parametrize("pooling", ["first", "mean", "patches"])
def test_objects_are_probabilities_and_none_without_an_image(pooling):
    module, image = image_attributes(pooling)
    objects = module.objects(image, MASK)
    pooled = {"first": image[0, 0], "mean": image[0].mean(0), "patches": image[0, 1]}[pooling]
    torch.testing.assert_close(objects[0], module.classifier(pooled).softmax(-1))
    assert not objects[1].any()


def test_names_come_with_the_likeliest_first():
    module, _ = image_attributes()
    objects = torch.tensor([[0.1, 0.3, 0.0, 0.2, 0.05, 0.25, 0.1], [0.0] * 7])
    pieces = module.name_pieces(objects)
    assert pieces.shape == (2, 5, 3)
    assert pieces[0, :3, 0].tolist() == [3, 15, 9]
    assert (pieces[1] == NO_PIECE).all()


def test_given_words_come_before_found_ones():
    found = torch.full((2, 2, 3), 7)
    given = torch.tensor([[[1], [2], [NO_PIECE]], [[NO_PIECE]] * 3])
    both = prefer_given(given, found)
    assert both[0].tolist() == [[1, -1, -1], [2, -1, -1], [-1, -1, -1]]
    assert both[1].tolist() == [[7, 7, 7], [7, 7, 7], [-1, -1, -1]]
    assert torch.equal(prefer_given(None, found), found)


def test_a_word_is_the_mean_of_its_pieces():
    embeddings = nn.Embedding(5, 4)
    vectors = word_vectors(torch.tensor([[[1, 3], [2, NO_PIECE], [NO_PIECE] * 2]]), embeddings)
    weight = embeddings.weight
    torch.testing.assert_close(vectors[0, 0], (weight[1] + weight[3]) / 2)
    assert torch.equal(vectors[0, 1], weight[2])
    assert not vectors[0, 2].any()
    assert not vectors.requires_grad


def test_the_nearest_is_that_of_the_smallest_angle():
    words = torch.tensor([[[1.0, 0.1], [0.0, -2.0]]])
    others = torch.tensor([[0.0, 9.0], [5.0, 0.0], [0.1, -1.0]])
    paired = with_nearest(words, others)
    torch.testing.assert_close(paired[0, 0], (words[0, 0] + others[1]) / 2)
    torch.testing.assert_close(paired[0, 1], (words[0, 1] + others[2]) / 2)


def test_pieces_are_filled_up():
    assert pad_pieces([[4], [], [5, 6]]).tolist() == [[4, -1], [-1, -1], [5, 6]]
    assert pad_pieces([]).shape == (0, 0)
