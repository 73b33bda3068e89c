"""The merge of two unimodal opinions, against loops and against the published rule."""

import itertools

import pytest
import torch

from mvcn.data.merge_rule import merge_labels
from mvcn.nn.unimodal import UnimodalHeads, estimate_merge_table

NAMES = ("positive", "neutral", "negative")


def published_table():
    """Return [a, b, k] = 1 where text label a and image label b give the post the label k."""
    table = torch.zeros(3, 3, 3)
    for a, b in itertools.product(range(3), repeat=2):
        label = merge_labels(NAMES[a], NAMES[b])
        if label is not None:
            table[a, b, NAMES.index(label)] = 1
    return table


def heads(table):
    module = UnimodalHeads(dim=8, num_classes=3, dropout=0.0).eval()
    module.merge_table.copy_(table)
    return module


def test_merge_sums_over_all_pairs_of_labels_and_leaves_contradictions_out():
    generator = torch.Generator().manual_seed(0)
    text, image = torch.randn(2, 5, 3, generator=generator)
    merged = heads(published_table()).merge(text, image).exp()
    p, q = text.softmax(-1), image.softmax(-1)
    for row in range(5):
        expected = [0.0, 0.0, 0.0]
        for a, b in itertools.product(range(3), repeat=2):
            label = merge_labels(NAMES[a], NAMES[b])
            if label is not None:
                expected[NAMES.index(label)] += float(p[row, a] * q[row, b])
        expected = torch.tensor(expected) / sum(expected)
        torch.testing.assert_close(merged[row], expected, atol=1e-6, rtol=0)


def test_two_sure_heads_that_contradict_each_other_say_nothing():
    sure = torch.tensor([[100.0, 0, 0]])
    merged = heads(published_table()).merge(sure, sure.flip(-1))
    torch.testing.assert_close(merged, torch.full((1, 3), merged[0, 0].item()))
    assert merged.isfinite().all()


def test_the_published_rule_is_found_in_labelled_posts():
    pairs = [(a, b) for a, b in itertools.product(range(3), repeat=2) if {a, b} != {0, 2}]
    labels = [NAMES.index(merge_labels(NAMES[a], NAMES[b])) for a, b in pairs]
    text, image = (torch.tensor(column) for column in zip(*pairs, strict=True))
    table = estimate_merge_table(text, image, torch.tensor(labels), 3)
    torch.testing.assert_close(table, published_table())


def test_a_rule_with_exceptions_is_a_share_and_absent_labels_do_not_count():
    text = torch.tensor([0, 0, 0, -1, 0])
    image = torch.tensor([1, 1, 1, 1, -1])
    labels = torch.tensor([0, 0, 1, 1, 1])
    table = estimate_merge_table(text, image, labels, 2)
    expected = torch.zeros(2, 2, 2)
    expected[0, 1] = torch.tensor([2 / 3, 1 / 3])
    torch.testing.assert_close(table, expected)


@pytest.mark.parametrize("padding", [1, 7])
def test_padding_does_not_change_the_text_head(padding):
    generator = torch.Generator().manual_seed(0)
    text, image = torch.randn(2, 4, 8, generator=generator), torch.randn(2, 5, 8)
    mask = torch.ones(2, 4, dtype=torch.bool)
    module = heads(published_table())
    padded = torch.cat([text, torch.randn(2, padding, 8, generator=generator)], 1)
    padded_mask = torch.cat([mask, torch.zeros(2, padding, dtype=torch.bool)], 1)
    expected, _ = module(text, image, mask)
    actual, _ = module(padded, image, padded_mask)
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)
