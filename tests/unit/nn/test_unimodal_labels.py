"""The pair of annotators' opinions and its merge, against loops and the published rule."""

import itertools

import pytest
import torch

from mvcn.data.datasets.mvsa import merge_labels
from mvcn.nn.unimodal_labels import UnimodalLabelHead, estimate_merge_table

NAMES = ("positive", "neutral", "negative")


def published_table():
    """Return [a, b, k] = 1 where text label a and image label b give the post the label k."""
    table = torch.zeros(3, 3, 3)
    for a, b in itertools.product(range(3), repeat=2):
        label = merge_labels(NAMES[a], NAMES[b])
        if label is not None:
            table[a, b, NAMES.index(label)] = 1
    return table


def head(table, dim=8):
    module = UnimodalLabelHead(dim, len(table), dropout=0.0).eval()
    module.merge_table.copy_(table)
    return module


def test_merge_sums_over_all_pairs_of_labels_and_leaves_contradictions_out():
    pairs = torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(0))
    merged = head(published_table()).merge(pairs).exp()
    for row in range(5):
        expected = [0.0, 0.0, 0.0]
        for a, b in itertools.product(range(3), repeat=2):
            label = merge_labels(NAMES[a], NAMES[b])
            if label is not None:
                expected[NAMES.index(label)] += float(pairs[row, a, b].exp())
        expected = torch.tensor(expected) / sum(expected)
        torch.testing.assert_close(merged[row], expected, atol=1e-6, rtol=0)


def test_a_sure_contradiction_says_nothing():
    sure = torch.zeros(1, 3, 3)
    sure[0, 0, 2] = 100.0
    merged = head(published_table()).merge(sure)
    torch.testing.assert_close(merged, torch.full((1, 3), merged[0, 0].item()))
    assert merged.isfinite().all()


def test_the_published_rule_is_found_in_labelled_posts():
    pairs = [(a, b) for a, b in itertools.product(range(3), repeat=2) if {a, b} != {0, 2}]
    labels = [NAMES.index(merge_labels(NAMES[a], NAMES[b])) for a, b in pairs]
    text, image = (torch.tensor(column) for column in zip(*pairs, strict=True))
    table = estimate_merge_table(text, image, torch.tensor(labels), 3)
    torch.testing.assert_close(table, published_table() / 7)  # seven pairs, each once


def test_a_rule_with_exceptions_is_a_share_and_absent_labels_do_not_count():
    text = torch.tensor([0, 0, 0, -1, 0])
    image = torch.tensor([1, 1, 1, 1, -1])
    labels = torch.tensor([0, 0, 1, 1, 1])
    table = estimate_merge_table(text, image, labels, 2)
    expected = torch.zeros(2, 2, 2)
    expected[0, 1] = torch.tensor([2 / 3, 1 / 3])
    torch.testing.assert_close(table, expected)


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    text, image, fused = (torch.randn(2, *n, 8, generator=generator) for n in ((4,), (5,), ()))
    return (
        text,
        image,
        fused,
        torch.ones(2, 4, dtype=torch.bool),
        torch.ones(2, 5, dtype=torch.bool),
    )


def test_pairs_follow_the_formula():
    module, (text, image, fused, *masks) = head(published_table()), inputs()
    weight, bias = module.classifier[-1].weight, module.classifier[-1].bias
    row = torch.cat([text.mean(1), image.mean(1), fused], 1)
    expected = (row @ weight.T + bias).view(2, 3, 3)
    torch.testing.assert_close(module(text, image, fused, *masks), expected)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("filler", [1e30, float("nan")])
def test_masked_tokens_do_not_count_whatever_they_hold(which, filler):
    module, given = head(published_table()), list(inputs())
    expected = module(*given)
    given[which] = torch.cat([given[which], torch.full((2, 3, 8), filler)], 1)
    given[3 + which] = torch.cat([given[3 + which], torch.zeros(2, 3, dtype=torch.bool)], 1)
    torch.testing.assert_close(module(*given), expected, atol=1e-6, rtol=0)


def test_what_no_post_has_counts_as_zeros():
    module, (text, image, fused, text_mask, image_mask) = head(published_table()), inputs()
    actual = module(text, image, fused, text_mask, ~image_mask)
    expected = module(text, torch.zeros_like(image), fused, text_mask, image_mask)
    torch.testing.assert_close(actual, expected)
