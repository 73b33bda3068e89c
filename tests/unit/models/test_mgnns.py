"""MGNNS: graphs against loops over their nodes, label attention against its formula."""

import itertools

import numpy as np
import torch

from mvcn.models.mgnns import (
    FACTORS,
    NEIGHBOUR_SHARE,
    PAIRS,
    ObjectGraph,
    PublishedLabelAttention,
    WordGraph,
)

MASK = torch.tensor([[True, True, True, False], [True, False, False, False], [False] * 4])
IDS = torch.tensor([[5, 9, 5, 0], [7, 0, 0, 0], [0, 0, 0, 0]])


def word_graph(window=1):
    torch.manual_seed(0)
    graph = WordGraph(3, 2, window, 0.5).eval()
    graph.pair_weights.data.normal_()
    return graph, torch.randn(3, 4, 3)


def test_a_text_is_the_sum_of_the_strongest_messages():
    graph, words = word_graph()
    nodes = graph.projection(words)[0]
    total = torch.zeros(2)
    for i in range(3):
        messages = [
            graph.pair_weights[(IDS[0, i] * FACTORS[0] + IDS[0, j] * FACTORS[1]) % PAIRS] * nodes[j]
            for j in range(3)
            if abs(i - j) <= 1
        ]
        total += torch.stack(messages).amax(0)
    torch.testing.assert_close(graph(words, IDS, MASK)[0], total.relu())


def test_padding_sends_no_messages():
    graph, words = word_graph(window=3)
    before = graph(words, IDS, MASK)
    changed = torch.where(MASK.unsqueeze(-1), words, 1e6)
    assert torch.equal(graph(changed, IDS, MASK), before)
    assert not before[2].any()


def test_two_words_have_one_weight_in_all_texts():
    graph, words = word_graph()
    graph(words, IDS, MASK).sum().backward()
    assert len(graph.pair_weights.grad.nonzero()) <= 5  # 5-5, 5-9, 9-5, 9-9, 7-7


def object_graph(**options):
    torch.manual_seed(0)
    return ObjectGraph(3, 4, 8, **options), torch.randn(8, 3)


def seen(*rows):
    """Return probabilities in which the named objects are by far the likeliest five."""
    objects = torch.full((len(rows), 8), 1e-3)
    for row, likely in enumerate(rows):
        objects[row, list(likely)] = 0.2
    return objects


def test_objects_that_are_seen_together_are_counted_in_training_alone():
    graph, names = object_graph()
    image, mask = torch.randn(3, 2, 4), torch.ones(3, 2, dtype=torch.bool)
    objects = seen(range(5), range(1, 6), ())
    objects[2] = 0  # a post without an image
    graph(image, mask, objects, names)
    expected = torch.zeros(8, 8)
    for likely in (range(5), range(1, 6)):
        for i in likely:
            for j in likely:
                expected[i, j] += 1
    assert torch.equal(graph.seen_together, expected)
    graph.eval()(image, mask, objects, names)
    assert torch.equal(graph.seen_together, expected)


def test_counts_are_exact_under_autocast():
    graph, names = object_graph()
    image, mask = torch.randn(301, 2, 4), torch.ones(301, 2, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):  # of 301 it makes 300
        graph(image, mask, seen(*[range(5)] * 301), names)
    assert graph.seen_together[0, 1] == 301


def test_a_node_takes_its_share_from_neighbours_and_keeps_the_rest():
    graph, _ = object_graph()
    assert torch.equal(graph._graph(), torch.eye(8))
    graph.seen_together[0, 1] = graph.seen_together[1, 0] = 3
    graph.seen_together[0, 2] = graph.seen_together[2, 0] = 1
    graph.seen_together[0, 0] = 100
    shares = graph._graph()
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    expected = [1 - NEIGHBOUR_SHARE, NEIGHBOUR_SHARE * 3 / 4, NEIGHBOUR_SHARE / 4, *[0.0] * 5]
    torch.testing.assert_close(shares[0], torch.tensor(expected))


def test_a_post_without_an_image_has_no_scores():
    graph, names = object_graph()
    mask = torch.tensor([[True, True], [False, False]])
    image = torch.where(mask.unsqueeze(-1), torch.randn(2, 2, 4), torch.nan)
    scores = graph.eval()(image, mask, seen(range(5), ()), names)
    assert scores.isfinite().all()
    assert scores[0].all()
    assert not scores[1].any()


def test_with_a_threshold_an_object_has_neighbours_or_has_not():
    graph, _ = object_graph(threshold=0.3)
    torch.testing.assert_close(graph._graph(), torch.eye(8))
    objects = seen(range(5), range(1, 6), range(1, 6), (0, 4, 5, 6, 2))
    image, mask = torch.randn(4, 2, 4), torch.ones(4, 2, dtype=torch.bool)
    graph(image, mask, objects, torch.randn(8, 3))
    images = [set(range(5)), {1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}, {0, 2, 4, 5, 6}]
    raw = np.zeros((8, 8))
    for one, other in itertools.permutations(range(8), 2):
        holding = [objects for objects in images if one in objects]
        # How often the other is there where the one is.
        raw[one, other] = bool(holding) and np.mean([other in it for it in holding]) >= 0.3
    assert 0 < raw.sum() < 56
    for node in range(8):
        raw[:, node] *= NEIGHBOUR_SHARE / max(raw[:, node].sum(), 1)
        raw[node, node] = 1 - NEIGHBOUR_SHARE
    degrees = np.diag(raw.sum(1) ** -0.5)
    expected = (raw @ degrees).T @ degrees
    np.testing.assert_allclose(graph._graph().numpy(), expected, rtol=1e-6)


def test_mgnns_weighs_sixty_numbers_of_each_head_for_each_class():
    torch.manual_seed(0)
    labels = PublishedLabelAttention(7, 3).double().eval()
    scores = torch.randn(2, 7, dtype=torch.float64)
    for row in range(2):
        key, value = labels.key(scores[row]), labels.value(scores[row])
        answers = []
        for label in labels.classes:
            query, collected = labels.query(label), []
            for start in range(0, 300, 60):
                head = slice(start, start + 60)
                weights = torch.exp(query[head] * key[head] / 60**0.5)
                collected.append(weights / weights.sum() * value[head])
            answers.append(labels.hidden(labels.collected(torch.cat(collected))))
        expected = labels.out(torch.cat(answers))
        torch.testing.assert_close(labels(scores)[row], expected, atol=1e-12, rtol=1e-12)
