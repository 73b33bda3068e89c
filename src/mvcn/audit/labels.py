"""Faults of labels: contradictions, imbalance, order, and words that give them away."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import chi2_contingency

from mvcn.audit.findings import AuditedPosts, Example, Finding

MAX_CLASS_RATIO = 3.0
"""Largest to smallest class; above it, accuracy says little of the smallest."""
SHIFT_P_VALUE = 0.001
"""Parts dealt out at random differ more than this once in a thousand data sets."""
ORDER_Z = -6.0
"""Standard deviations of the number of runs below its expectation: once in 1e9 shuffles."""
CONTRADICTORY = "contradictory"
WHOLE = "all"
"""Name of all posts together, as a part."""


def find_contradictory(audited: AuditedPosts) -> Finding:
    """Return the posts that the source removes since their labels contradict each other."""
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
    whole = counts[WHOLE]
    faults = []
    smallest, largest = min(whole.values(), default=0), max(whole.values(), default=0)
    if len(whole) == 1:
        faults.append(f"all labels are {next(iter(whole))}: there is nothing to tell apart")
    if largest > MAX_CLASS_RATIO * smallest:
        most, least = max(whole, key=whole.__getitem__), min(whole, key=whole.__getitem__)
        faults.append(f"class {most} has {largest} posts, {least} only {smallest}")
    parts = {part: table for part, table in counts.items() if part != WHOLE}
    for part, table in parts.items():
        lacking = [name for name in audited.class_names if not table[name] and whole[name]]
        faults += [f"part {part} lacks class {name}" for name in lacking]
    p_value = _shift_p_value(list(parts.values()))
    if p_value is not None and p_value < SHIFT_P_VALUE:
        faults.append(f"the shares of the classes differ between parts (p = {p_value:.1g})")
    details = {
        "faults": faults,
        "shares": {part: _shares(table) for part, table in counts.items()},
        "largest_to_smallest": largest / smallest if smallest else None,
        "majority_accuracy": {
            part: max(_shares(table).values(), default=0.0) for part, table in counts.items()
        },
        "shift_p_value": p_value,
    }
    return Finding(len(faults), details, summary="; ".join(faults))


def find_label_order(audited: AuditedPosts) -> Finding:
    """Return the parts in which equal labels follow each other far more often than by chance."""
    details: dict[str, Any] = {}
    suspects = []
    for part, positions in (audited.parts or {WHOLE: range(len(audited.posts))}).items():
        labels = [label for i in positions if (label := audited.posts[i].label) is not None]
        runs, expected, deviation = runs_of_labels(labels)
        z = (runs - expected) / deviation if deviation > 0 else 0.0
        ordered = z < ORDER_Z
        details[part] = {"runs": runs, "expected_runs": expected, "z": z, "ordered": ordered}
        if ordered:
            suspects.append(f"{part}: {runs} runs of equal labels, {expected:.0f} by chance")
    return Finding(len(suspects), {"parts": details}, summary="; ".join(suspects))


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


def count_posts(audited: AuditedPosts) -> dict[str, Any]:
    """Return how many posts there are by part and class, with and without text and image."""
    everything: Mapping[str, Sequence[int]] = {WHOLE: range(len(audited.posts)), **audited.parts}
    return {
        "posts": {part: len(positions) for part, positions in everything.items()},
        "classes": {part: dict(table) for part, table in _class_counts(audited).items()},
        "with_text": sum(bool(post.text.strip()) for post in audited.posts),
        "without_text": sum(not post.text.strip() for post in audited.posts),
        "with_image": sum(post.image is not None for post in audited.posts),
        "without_image": sum(post.image is None for post in audited.posts),
        "without_label": sum(post.label is None for post in audited.posts),
        "removed": {reason: len(ids) for reason, ids in audited.removed.items()},
    }


def _class_counts(audited: AuditedPosts) -> dict[str, Counter[str]]:
    everything: Mapping[str, Sequence[int]] = {WHOLE: range(len(audited.posts)), **audited.parts}
    counts = {}
    for part, positions in everything.items():
        counts[part] = Counter(dict.fromkeys(audited.class_names, 0))
        counts[part].update(
            label for i in positions if (label := audited.posts[i].label) is not None
        )
    return counts


def _shares(table: Counter[str]) -> dict[str, float]:
    return {name: count / max(1, table.total()) for name, count in table.items()}


def _shift_p_value(tables: Sequence[Counter[str]]) -> float | None:
    """Return how often parts drawn at random from one pool would differ as much, if there are."""
    filled = [table for table in tables if table.total()]
    names = [name for name in (filled[0] if filled else ()) if any(table[name] for table in filled)]
    if min(len(filled), len(names)) < 2:  # noqa: PLR2004 - nothing to compare
        return None
    return float(chi2_contingency([[table[name] for name in names] for table in filled]).pvalue)
