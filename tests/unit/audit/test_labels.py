import random
from itertools import groupby, permutations

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from mvcn.audit.findings import count_posts, severity_of, to_mapping
from mvcn.audit.labels import (
    find_disagreement,
    find_imbalance,
    find_label_cues,
    find_label_order,
    runs_of_labels,
)


@pytest.mark.parametrize("labels", ["ab", "aaab", "aabbc", "aabbcc", "abcd", "aaaa"])
def test_runs_have_the_mean_and_deviation_of_all_orders(labels):
    counts = [len(list(groupby(order))) for order in permutations(labels)]
    runs, mean, deviation = runs_of_labels(list(labels))
    assert runs == len(list(groupby(labels)))
    assert mean == pytest.approx(np.mean(counts), abs=1e-12)
    assert deviation == pytest.approx(np.std(counts), abs=1e-7)


def test_only_sorted_splits_are_found(audited):
    labels = ["a"] * 60 + ["b"] * 40
    shuffled = random.Random(0).sample(range(100), 100)
    posts = audited(label=labels, splits={"train": list(range(100)), "dev": shuffled})
    splits = find_label_order(posts).details["splits"]
    assert splits["train"]["ordered"]
    assert splits["train"]["runs"] == 2
    assert not splits["dev"]["ordered"]
    assert find_label_order(posts).count == 1
    assert find_label_order(audited(label=labels)).details["splits"]["all"]["ordered"]


def test_few_or_unlabelled_posts_have_no_order(audited):
    for labels in ([None] * 9, ["a"], ["a", "b"], ["a"] * 50):
        assert find_label_order(audited(label=labels)).count == 0


def test_disagreement_is_a_table_of_pairs(audited):
    finding = find_disagreement(
        audited(text_label=["a", "a", "b", None], image_label=["a", "b", "a", "a"])
    )
    assert finding.details == {
        "share": 2 / 3,
        "pairs_text_image": {"a": {"a": 1, "b": 1}, "b": {"a": 1}},
        "ids": ["p1", "p2"],
    }


def test_balanced_splits_have_no_fault(audited):
    posts = audited(
        label=["a", "b"] * 40, splits={"train": list(range(60)), "dev": list(range(60, 80))}
    )
    finding = find_imbalance(posts)
    assert finding.count == 0
    assert finding.details["majority_accuracy"] == {"all": 0.5, "train": 0.5, "dev": 0.5}
    assert finding.details["shift_p_value"] == pytest.approx(1)


def test_rare_missing_and_shifted_classes_are_named(audited):
    labels = ["a"] * 80 + ["b"] * 10 + ["c"] * 10
    posts = audited(
        label=labels,
        class_names=("a", "b", "c"),
        splits={"train": list(range(95)), "dev": list(range(95, 100))},
    )
    finding = find_imbalance(posts)
    assert finding.details["largest_to_smallest"] == 8
    expected = chi2_contingency([[80, 10, 5], [0, 0, 5]])[1]
    assert finding.details["shift_p_value"] == pytest.approx(expected)
    assert finding.count == 4
    for words in (
        "class a has 80 posts, b only 10",
        "dev has no post of class a",
        "dev has no post of class b",
        "differ",
    ):
        assert words in finding.summary


def test_classes_of_too_few_posts_are_named(audited):
    labels = [*"aaaaabbbbb", *"ccccd", *"efgh"]
    finding = find_imbalance(audited(label=labels, class_names=tuple("abcdefgh")))
    named = "'c' (4 posts), 'd' (1 post), 'e' (1 post), 'f' (1 post), 'g' (1 post) and 1 more"
    assert f"too few posts to learn {named}" in finding.summary


def test_a_single_class_is_a_fault(audited):
    finding = find_imbalance(audited(label=["a"] * 9, class_names=("a",)))
    assert finding.count == 1
    assert finding.summary == "all labels are a: there is nothing to tell apart"


def test_counts_add_up(audited):
    posts = audited(text=["x", "", " "], label=["a", "b", None], splits={"train": [0, 1]})
    assert count_posts(posts) == {
        "posts": {"all": 3, "train": 2},
        "classes": {"all": {"a": 1, "b": 1}, "train": {"a": 1, "b": 1}},
        **{"with_text": 1, "without_text": 2, "with_image": 0, "without_image": 3},
        **{"without_label": 1, "removed": {}},
    }


def test_a_word_of_one_class_is_a_cue_and_words_of_chance_are_not(audited):
    generator = random.Random(1)
    fillers = [f"filler{i}" for i in range(30)]
    labels = ["a", "b"] * 300
    texts = [
        " ".join(generator.sample(fillers, 5)) + (" #" if generator.random() < odds[label] else "")
        for odds in [{"a": 0.66, "b": 0.33}]
        for label in labels
    ]
    finding = find_label_cues(audited(text=texts, label=labels))
    (cue,) = finding.details["cues"]
    assert severity_of("label_cues", finding) == "information"
    with_mark = {
        name: np.mean(["#" in t for t, one in zip(texts, labels, strict=True) if one == name])
        for name in "ab"
    }
    assert (cue["word"], cue["class"]) == ("#", "a")
    assert cue["share_in_class"] == pytest.approx(with_mark["a"])
    assert cue["share_elsewhere"] == pytest.approx(with_mark["b"])
    table = [[with_mark[name] * 300, 300 - with_mark[name] * 300] for name in "ab"]
    p_value = chi2_contingency(table, correction=False)[1]
    assert cue["p_value"] == pytest.approx(p_value * 31 * 2)


@pytest.mark.parametrize("labels", [["a"] * 20, [None] * 20, ["a", "b"] * 10])
def test_no_cues_where_words_cannot_tell(audited, labels):
    assert find_label_cues(audited(text=["same words"] * 20, label=labels)).count == 0


def test_whitespace_that_tell_the_label_are_a_cue(audited):
    """Where a word was cut out of the posts of one class, its whitespace is left."""
    labels = ["b", "a"] * 20
    texts = ["what a  day", "what a day"] * 20
    posts = audited(text=texts, label=labels)
    finding = find_label_cues(posts)
    (cue,) = finding.details["cues"]
    assert severity_of("label_cues", finding) == "error"  # as good as the label itself
    assert to_mapping(posts, {"label_cues": finding})["label_cues"]["severity"] == "error"
    assert cue["word"] == "leading, trailing or repeated whitespace"
    assert (cue["class"], cue["share_in_class"], cue["share_elsewhere"]) == ("b", 1.0, 0.0)
