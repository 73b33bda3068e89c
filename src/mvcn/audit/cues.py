"""Single words, and blanks, that tell the label."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2

from mvcn.audit.findings import AuditedPosts, Finding, Severity
from mvcn.data.text import ODD_BLANKS

WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")
BLANKS = "leading, trailing or repeated blanks"
"""Listed like a word: where something was cut out of a text, they may tell what it was."""
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


def find_label_cues(audited: AuditedPosts) -> Finding:
    """Return the words whose presence depends most on the class, the strongest first.

    A word's class is that of the classes in which it is more frequent than elsewhere which has the
    largest chi-square statistic (one degree of freedom) of presence against class or not.
    """
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


def _words(text: str) -> set[str]:
    """Return the words and marks of a text, and whether it has odd blanks."""
    blanks = {BLANKS} if ODD_BLANKS.search(text) else set()
    return set(WORD_OR_MARK.findall(text.lower())) | blanks


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
