"""The n-gram classifier scores words and pairs of neighbours, whatever stands around them."""

import pytest
import torch

from mvcn.nn.ngrams import PAIR_WEIGHT, NgramClassifier, split_ngrams
from mvcn.types import WORD_NUMBERS


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    built = NgramClassifier(64, 3)
    built.weight.normal_()
    built.bias.normal_()
    built.idf.uniform_(0.5, 3)
    return built


def batch(*texts):
    """Word pieces with the numbers of some words, padded."""
    length = max(len(text) for text in texts)
    rows = [[7 + WORD_NUMBERS * number for number in text] for text in texts]
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    mask = torch.tensor([[i < len(text) for i in range(length)] for text in texts])
    return ids, mask


def grams(ids, mask):
    return [found[is_real].tolist() for found, is_real in split_ngrams(ids, mask)]


def test_pairs_are_of_neighbours_and_none_has_padding_or_a_mark():
    (words, are_words), (_, are_pairs) = split_ngrams(*batch([5, 6, 7, 0], [8]))
    assert words[are_words].tolist() == [5, 6, 7, 8]
    assert are_words.tolist() == [[True, True, True, False], [True, False, False, False]]
    assert are_pairs.tolist() == [[True, True, False], [False] * 3]


def test_the_order_of_a_pair_counts_and_word_pieces_do_not():
    one, other = grams(*batch([5, 6])), grams(*batch([6, 5]))
    assert sorted(one[0]) == sorted(other[0])
    assert one[1] != other[1]
    ids, mask = batch([5, 6])
    assert grams(ids + 3, mask) == one


def test_logits_are_those_of_a_linear_model_of_weighted_counts(classifier):
    ids, mask = batch([3, 4, 3], [9, 10])
    for row, real, found in zip(ids, mask, classifier(ids, mask), strict=True):
        expected = classifier.bias.clone()
        for weight, some in zip((1, PAIR_WEIGHT), grams(row[None], real[None]), strict=True):
            buckets = [one % 64 for one in some]
            total = sum(classifier.idf[b] * classifier.weight[b] for b in buckets)
            expected += weight * total / sum(classifier.idf[b] ** 2 for b in buckets) ** 0.5
        torch.testing.assert_close(found, expected)


def test_padding_and_other_texts_change_nothing(classifier):
    alone = classifier(*batch([3, 4, 5]))
    together = classifier(*batch([3, 4, 5], [7] * 9))
    torch.testing.assert_close(together[:1], alone)


def test_a_post_without_a_text_or_known_ngram_is_no_number_out_of_range(classifier):
    ids, mask = batch([3, 4])
    assert not classifier(ids, torch.zeros_like(mask)).any()
    classifier.idf.zero_()
    torch.testing.assert_close(classifier(ids, mask)[0], classifier.bias)
