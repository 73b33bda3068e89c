"""Faults of labels: contradictions, imbalance, order, and words that give them away."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mvcn.audit.findings import ALL, AuditedPosts, Example, Finding
from mvcn.audit.kinds import Severity
from mvcn.data.datasets.mvsa import CONTRADICTORY
from mvcn.data.posts import rare_classes
from mvcn.data.text import ODD_WHITESPACE

MAX_CLASS_RATIO = 3.0
"""Of the largest to the smallest class; above it, accuracy hardly depends on the smallest."""
SHIFT_P_VALUE = 0.001
"""Random splits have a smaller p-value in one of a thousand datasets."""
ORDER_Z = -6.0
"""z-score of the number of runs; one of 1e9 shuffles has a lower one."""
WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")
WHITESPACE = "leading, trailing or repeated whitespace"
"""Listed like a word: it may show that something was removed from the text."""
MIN_POSTS = 10
"""Words in fewer posts are ignored."""
MIN_DIFFERENCE = 0.05
"""Between the shares of posts with the word in the class and in the others; a word with a smaller
one hardly helps any model."""
MAX_P_VALUE = 0.001
"""After Bonferroni's correction for the number of words and classes."""
GIVES_AWAY = 0.8
"""Difference of the shares from which a word gives the label away, which is an error."""
MAX_CUES = 50
NAMED = 5
"""Words in the summary."""


def find_contradictory(audited: AuditedPosts) -> Finding:
    """Return the posts that the reader removes because their labels contradict each other."""
    ids = audited.removed.get(CONTRADICTORY, ())
    return Finding(len(ids), {"ids": list(ids)})


def find_disagreement(audited: AuditedPosts) -> Finding:
    """Return the posts whose text and image labels differ, and the counts of label pairs."""
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
    about = f"{100 * share:.1f} % of the posts with both labels"
    return Finding(len(differ), details, examples, about)


def find_imbalance(audited: AuditedPosts) -> Finding:
    """Return the shares of the classes, and what is wrong with them, in words."""
    counts = audited.class_counts()
    overall = counts[ALL].values()
    smallest, largest = min(overall, default=0), max(overall, default=0)
    p_value = _shift_p_value([counts[split] for split in audited.splits])
    faults = [*_size_faults(counts[ALL]), *_missing_classes(audited, counts)]
    if p_value is not None and p_value < SHIFT_P_VALUE:
        faults.append(f"the shares of the classes differ between splits (p = {p_value:.1g})")
    shares = {split: _shares(table) for split, table in counts.items()}
    details = {
        "faults": faults,
        "shares": shares,
        "largest_to_smallest": largest / smallest if smallest else None,
        "majority_accuracy": {
            split: max(table.values(), default=0.0) for split, table in shares.items()
        },
        "shift_p_value": p_value,
    }
    return Finding(len(faults), details, summary="; ".join(faults))


def _size_faults(overall: Counter[str]) -> list[str]:
    if not overall:
        return []
    most, least = max(overall, key=overall.__getitem__), min(overall, key=overall.__getitem__)
    faults = []
    if len(overall) == 1:
        faults.append(f"all labels are {most}: there is nothing to tell apart")
    if overall[most] > MAX_CLASS_RATIO * overall[least]:
        faults.append(f"class {most} has {overall[most]:,} posts, {least} only {overall[least]:,}")
    if rare := rare_classes(overall):
        faults.append(f"too few posts to learn {rare}")
    return faults


def _missing_classes(audited: AuditedPosts, counts: Mapping[str, Counter[str]]) -> list[str]:
    return [
        f"split {split} has no post of class {name}"
        for split in audited.splits
        for name in audited.class_names
        if counts[ALL][name] and not counts[split][name]
    ]


def find_label_order(audited: AuditedPosts) -> Finding:
    """Return the splits in which posts of one label are grouped far more than by chance."""
    details: dict[str, Any] = {}
    suspects = []
    for split, positions in (audited.splits or audited.with_all).items():
        runs, expected, deviation = runs_of_labels(audited.labels(positions))
        z = (runs - expected) / deviation if deviation > 0 else 0.0
        ordered = z < ORDER_Z
        details[split] = {"runs": runs, "expected_runs": expected, "z": z, "ordered": ordered}
        if ordered:
            suspects.append(f"{split}: {runs:,} runs of equal labels, {expected:,.0f} by chance")
    return Finding(len(suspects), {"splits": details}, summary="; ".join(suspects))


def runs_of_labels(labels: Sequence[str]) -> tuple[int, float, float]:
    """Return the number of runs of equal labels, its mean and its deviation over all orders.

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

    A word is assigned to the class with the largest chi-square statistic (one degree of freedom)
    of presence against class, among the classes in which it is more frequent than elsewhere.
    """
    labelled = [post for post in audited.posts if post.label in audited.class_names]
    sizes = Counter(str(post.label) for post in labelled)
    names = [name for name in audited.class_names if 0 < sizes[name] < len(labelled)]
    counts = {name: Counter[str]() for name in names}
    for post in labelled:
        if post.label in counts:
            counts[post.label].update(_words(post.text))
    cues = [cue for cue in _strongest_cues(counts, sizes) if _is_strong(cue)]
    summary = ", ".join(map(_shown, cues[:NAMED]))
    gives_away = any(_difference(cue) >= GIVES_AWAY for cue in cues)
    severity: Severity | None = "error" if gives_away else None
    return Finding(len(cues), {"cues": cues}, summary=summary, severity=severity)


def _strongest_cues(
    counts: Mapping[str, Counter[str]], sizes: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Yield the words with the largest statistics, each with its class.

    Args:
        counts: Class -> word -> number of posts with the word.
        sizes: Class -> number of posts.
    """
    from scipy.stats import chi2  # takes half a second; --help must not wait for it

    names, totals = list(counts), sum(counts.values(), Counter[str]())
    words = sorted(word for word, count in totals.items() if count >= MIN_POSTS)
    if not words:
        return
    inside = np.array([[counts[name][word] for name in names] for word in words], dtype=float)
    size = np.array([sizes[name] for name in names], dtype=float)
    in_class, elsewhere, statistic = _compare(inside, size)
    for row in np.argsort(-statistic.max(axis=1), kind="stable")[:MAX_CUES].tolist():
        column = int(statistic[row].argmax())
        yield {
            "word": words[row],
            "class": names[column],
            "share_in_class": float(in_class[row, column]),
            "share_elsewhere": float(elsewhere[row, column]),
            "p_value": min(1.0, float(chi2.sf(statistic[row, column], 1)) * statistic.size),
        }


def _shares(table: Counter[str]) -> dict[str, float]:
    return {name: count / max(1, table.total()) for name, count in table.items()}


def _shift_p_value(tables: Sequence[Counter[str]]) -> float | None:
    """Return the p-value of equal class shares in all splits; None with nothing to compare."""
    from scipy.stats import chi2_contingency  # takes half a second; --help must not wait for it

    filled = [table for table in tables if table.total()]
    names = [name for name in (filled[0] if filled else ()) if any(table[name] for table in filled)]
    if min(len(filled), len(names)) < 2:  # noqa: PLR2004 - nothing to compare
        return None
    return float(chi2_contingency([[table[name] for name in names] for table in filled]).pvalue)


def _words(text: str) -> set[str]:
    """Return the words and marks of a text, with `WHITESPACE` if it has odd whitespace."""
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
        f"{cue['word']} ({100 * cue['share_in_class']:.0f} % of {cue['class']}, "
        f"{100 * cue['share_elsewhere']:.0f} % elsewhere)"
    )
