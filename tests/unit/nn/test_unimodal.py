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
    module = UnimodalHeads(dim=8, num_classes=len(table), dropout=0.0).eval()
    module.merge_table.copy_(table)
    return module


def merge(table, text, image, *, has_text=True, has_image=True):
    masks = (torch.full((len(text),), flag) for flag in (has_text, has_image))
    return heads(table).merge(text, image, *masks)


def test_merge_sums_over_all_pairs_of_labels_and_leaves_contradictions_out():
    generator = torch.Generator().manual_seed(0)
    text, image = torch.randn(2, 5, 3, generator=generator)
    merged = merge(published_table(), text, image).exp()
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
    merged = merge(published_table(), sure, sure.flip(-1))
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


def test_a_lacking_modality_is_averaged_over_what_it_could_be():
    """P(k | a) and P(k | b), counted by hand over ten posts of two classes."""
    posts = [(0, 0, 0)] * 4 + [(0, 1, 1)] * 2 + [(1, 0, 0)] * 1 + [(1, 1, 1)] * 3
    table = estimate_merge_table(*torch.tensor(posts).T, 2)
    sure_of_0 = torch.tensor([[100.0, 0]])
    even = torch.zeros(1, 2)
    # Of six posts with text label 0, four have label 0; of five with image label 0, all do.
    torch.testing.assert_close(
        merge(table, sure_of_0, even, has_image=False).exp(), torch.tensor([[4 / 6, 2 / 6]])
    )
    torch.testing.assert_close(
        merge(table, even, sure_of_0, has_text=False).exp(),
        torch.tensor([[1, 1e-6]]),
        atol=1e-7,
        rtol=0,
    )
    # An even text: the mean of 4/6 and 1/4, the shares of label 0 for each text label.
    share = (4 / 6 + 1 / 4) / 2
    torch.testing.assert_close(
        merge(table, even, even, has_image=False).exp(), torch.tensor([[share, 1 - share]])
    )


def test_without_any_modality_the_rule_says_nothing():
    logits = torch.tensor([[3.0, 1.0, 2.0]])
    merged = merge(published_table(), logits, logits, has_text=False, has_image=False)
    assert torch.equal(merged, torch.zeros(1, 3))


def test_what_a_lacking_modality_would_say_is_ignored():
    generator = torch.Generator().manual_seed(0)
    text, image, other = torch.randn(3, 5, 3, generator=generator)
    for options in ({"has_image": False}, {"has_text": False}):
        one, two = (text, image), (text, other)
        if "has_text" in options:
            one, two = one[::-1], two[::-1]
        table = published_table() / 7
        assert torch.equal(merge(table, *one, **options), merge(table, *two, **options))


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
