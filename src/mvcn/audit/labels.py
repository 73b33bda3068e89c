"""Faults of labels: contradictions, imbalance, order, and words that tell them."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mvcn.audit.findings import ALL, AuditedPosts, Example, Finding, Severity
from mvcn.data.text import ODD_WHITESPACE

MAX_CLASS_RATIO = 3.0
"""Largest to smallest class; above it, accuracy says little of the smallest."""
SHIFT_P_VALUE = 0.001
"""Splits assigned at random differ more than this once in a thousand datasets."""
ORDER_Z = -6.0
"""Standard deviations of the number of runs below its expectation: once in 1e9 shuffles."""
CONTRADICTORY = "contradictory"
WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")
WHITESPACE = "leading, trailing or repeated whitespace"
"""Listed like a word: where something was removed from a text, it may tell what it was."""
MIN_POSTS = 10
"""Words in fewer posts are left aside."""
MIN_DIFFERENCE = 0.05
"""Between the shares of posts with the word in the class and in the others; else it hardly helps
any model."""
MAX_P_VALUE = 0.001
"""After Bonferroni's correction for the number of words and classes."""
GIVES_AWAY = 0.8
"""Difference of the shares from which on a word is as good as the label: an error."""
MAX_CUES = 50
NAMED = 5
"""Words in the summary."""


def find_contradictory(audited: AuditedPosts) -> Finding:
    """Return the posts that their reader removes since the labels contradict each other."""
    ids = audited.removed.get(CONTRADICTORY, ())
    return Finding(len(ids), {"ids": list(ids)})


def find_disagreement(audited: AuditedPosts) -> Finding:
    """Return the posts whose text label and image label differ, and the table of pairs."""
    pairs: Counter[tuple[str, str]] = Counter()
    differ = []
    for i, post in enumerate(audited.posts):
        if post.text_label is not None and post.image_label is not None:
            pairs[post.text_label, post.image_label] += 1
            if post.text_label != post.image_label:
                differ.append(i)
    share = len(differ) / max(1, pairs.total())
    table: dict[str, dict[str, int]] = {}
    for (text, image), count in sorted(pairs.items()):
        table.setdefault(text, {})[image] = count
    examples = [
        Example((i,), f"text {audited.posts[i].text_label}, image {audited.posts[i].image_label}")
        for i in differ
    ]
    details = {"share": share, "pairs_text_image": table, "ids": audited.ids(differ)}
    return Finding(len(differ), details, examples, f"{share:.1%} of the posts with both labels")


def find_imbalance(audited: AuditedPosts) -> Finding:
    """Return the shares of the classes, and what is wrong with them, as sentences."""
    counts = _class_counts(audited)
    overall = counts[ALL]
    faults = []
    smallest, largest = min(overall.values(), default=0), max(overall.values(), default=0)
    if len(overall) == 1:
        faults.append(f"all labels are {next(iter(overall))}: there is nothing to tell apart")
    if largest > MAX_CLASS_RATIO * smallest:
        most, least = max(overall, key=overall.__getitem__), min(overall, key=overall.__getitem__)
        faults.append(f"class {most} has {largest} posts, {least} only {smallest}")
    faults += [
        f"split {split} has no post of class {name}"
        for split in audited.splits
        for name in audited.class_names
        if overall[name] and not counts[split][name]
    ]
    p_value = _shift_p_value([counts[split] for split in audited.splits])
    if p_value is not None and p_value < SHIFT_P_VALUE:
        faults.append(f"the shares of the classes differ between splits (p = {p_value:.1g})")
    details = {
        "faults": faults,
        "shares": {split: _shares(table) for split, table in counts.items()},
        "largest_to_smallest": largest / smallest if smallest else None,
        "majority_accuracy": {
            split: max(_shares(table).values(), default=0.0) for split, table in counts.items()
        },
        "shift_p_value": p_value,
    }
    return Finding(len(faults), details, summary="; ".join(faults))


def find_label_order(audited: AuditedPosts) -> Finding:
    """Return the splits in which equal labels follow each other far more often than by chance."""
    details: dict[str, Any] = {}
    suspects = []
    for split, positions in (audited.splits or audited.with_all).items():
        runs, expected, deviation = runs_of_labels(audited.labels(positions))
        z = (runs - expected) / deviation if deviation > 0 else 0.0
        ordered = z < ORDER_Z
        details[split] = {"runs": runs, "expected_runs": expected, "z": z, "ordered": ordered}
        if ordered:
            suspects.append(f"{split}: {runs} runs of equal labels, {expected:.0f} by chance")
    return Finding(len(suspects), {"splits": details}, summary="; ".join(suspects))


def runs_of_labels(labels: Sequence[str]) -> tuple[int, float, float]:
    """Return the number of runs of equal labels, and its mean and deviation over all orders.

    Source:
        Mood, Annals of Mathematical Statistics 1940 (runs of several kinds of elements).
    """
    n = len(labels)
    if n < 2:  # noqa: PLR2004 - there is one order only
        return n, float(n), 0.0
    runs = 1 + sum(left != right for left, right in itertools.pairwise(labels))
    counts = Counter(labels).values()
    squares, cubes = sum(c**2 for c in counts), sum(c**3 for c in counts)
    variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3) / (n**2 * (n - 1))
    return runs, n + 1 - squares / n, math.sqrt(max(0.0, variance))


def find_label_cues(audited: AuditedPosts) -> Finding:
    """Return the words whose presence depends most on the class, the strongest first.

    A word's class is that of the classes in which it is more frequent than elsewhere which has the
    largest chi-square statistic (one degree of freedom) of presence against class or not.
    """
    from scipy.stats import chi2  # takes half a second; --help must not wait for it

    labelled = [post for post in audited.posts if post.label in audited.class_names]
    sizes = Counter(str(post.label) for post in labelled)
    names = [name for name in audited.class_names if 0 < sizes[name] < len(labelled)]
    counts = {name: Counter[str]() for name in names}
    for post in labelled:
        if post.label in counts:
            counts[post.label].update(_words(post.text))
    totals = sum(counts.values(), Counter[str]())
    words = sorted(word for word, count in totals.items() if count >= MIN_POSTS)
    if not words:
        return Finding(0, {"cues": []})
    inside = np.array([[counts[name][word] for name in names] for word in words], dtype=float)
    size = np.array([sizes[name] for name in names], dtype=float)
    in_class, elsewhere, statistic = _compare(inside, size)
    cues = []
    for row in np.argsort(-statistic.max(axis=1), kind="stable")[:MAX_CUES].tolist():
        column = int(statistic[row].argmax())
        cue = {
            "word": words[row],
            "class": names[column],
            "share_in_class": float(in_class[row, column]),
            "share_elsewhere": float(elsewhere[row, column]),
            "p_value": min(1.0, float(chi2.sf(statistic[row, column], 1)) * statistic.size),
        }
        if _is_strong(cue):
            cues.append(cue)
    summary = ", ".join(map(_shown, cues[:NAMED]))
    gives_away = any(_difference(cue) >= GIVES_AWAY for cue in cues)
    severity: Severity | None = "error" if gives_away else None
    return Finding(len(cues), {"cues": cues}, summary=summary, severity=severity)


def count_posts(audited: AuditedPosts) -> dict[str, Any]:
    """Return how many posts there are by split and class, with and without text and image."""
    with_text = sum(bool(post.text.strip()) for post in audited.posts)
    with_image = sum(post.image is not None for post in audited.posts)
    return {
        "posts": {split: len(positions) for split, positions in audited.with_all.items()},
        "classes": {split: dict(table) for split, table in _class_counts(audited).items()},
        "with_text": with_text,
        "without_text": len(audited.posts) - with_text,
        "with_image": with_image,
        "without_image": len(audited.posts) - with_image,
        "without_label": sum(post.label is None for post in audited.posts),
        "removed": {reason: len(ids) for reason, ids in audited.removed.items()},
    }


def _class_counts(audited: AuditedPosts) -> dict[str, Counter[str]]:
    """Return split -> class -> number of posts, with 0 for classes without any."""
    counts = {split: Counter(dict.fromkeys(audited.class_names, 0)) for split in audited.with_all}
    for split, positions in audited.with_all.items():
        counts[split].update(audited.labels(positions))
    return counts


def _shares(table: Counter[str]) -> dict[str, float]:
    return {name: count / max(1, table.total()) for name, count in table.items()}


def _shift_p_value(tables: Sequence[Counter[str]]) -> float | None:
    """Return how often splits drawn at random from one pool would differ as much, if there are."""
    from scipy.stats import chi2_contingency  # takes half a second; --help must not wait for it

    filled = [table for table in tables if table.total()]
    names = [name for name in (filled[0] if filled else ()) if any(table[name] for table in filled)]
    if min(len(filled), len(names)) < 2:  # noqa: PLR2004 - nothing to compare
        return None
    return float(chi2_contingency([[table[name] for name in names] for table in filled]).pvalue)


def _words(text: str) -> set[str]:
    """Return the words and marks of a text, and whether it has odd whitespace."""
    spaces = {WHITESPACE} if ODD_WHITESPACE.search(text) else set()
    return set(WORD_OR_MARK.findall(text.lower())) | spaces


def _compare(
    inside: Float[np.ndarray, "words classes"], size: Float[np.ndarray, " classes"]
) -> tuple[
    Float[np.ndarray, "words classes"],
    Float[np.ndarray, "words classes"],
    Float[np.ndarray, "words classes"],
]:
    """Return each word's share in a class and elsewhere, and chi-square where the first is larger.

    Args:
        inside: Number of posts of each class with the word.
        size: Number of posts of each class.
    """
    totals, others = inside.sum(axis=1, keepdims=True), size.sum() - size
    in_class, elsewhere = inside / size, (totals - inside) / others
    share = totals / size.sum()
    variance = share * (1 - share) * (1 / size + 1 / others)
    excess = np.maximum(in_class - elsewhere, 0)
    return in_class, elsewhere, excess**2 / np.maximum(variance, np.finfo(float).tiny)


def _is_strong(cue: Mapping[str, Any]) -> bool:
    return _difference(cue) >= MIN_DIFFERENCE and cue["p_value"] < MAX_P_VALUE


def _difference(cue: Mapping[str, Any]) -> float:
    return float(cue["share_in_class"] - cue["share_elsewhere"])


def _shown(cue: Mapping[str, Any]) -> str:
    return (
        f"{cue['word']} ({cue['share_in_class']:.0%} of {cue['class']}, "
        f"{cue['share_elsewhere']:.0%} elsewhere)"
    )
