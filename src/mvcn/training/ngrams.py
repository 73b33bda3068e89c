"""Fit logistic regressions on words and pairs of them."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array, diags_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from mvcn.nn.ngrams import PAIR_WEIGHT, NgramClassifier, split_ngrams
from mvcn.training.linear import best_penalty, choose_per_fold, for_each_class, one_thread

INVERSE_PENALTIES = (1.0, 10.0, 100.0)
"""Values of C that are tried."""
MAX_ITERATIONS = 200
BUCKETS_PER_NGRAM = 2
"""Least values of the hash per n-gram of the training posts, so that few of them share one."""
MOST_WEIGHTS = 2**22
"""Of all classes: 16 MB."""
LEAST_LOGIT = -14.0
"""Of a class without a training post, which would be minus infinity."""


def fit_ngrams(
    texts: Sequence[Sequence[int]],
    labels: Int[np.ndarray, " posts"],
    folds: Int[np.ndarray, " posts"],
    num_classes: int,
) -> tuple["NgramModel", Float[np.ndarray, "posts classes"]]:
    """Return a model of n-grams, and the class probabilities of each post out of fold.

    Args:
        texts: Word pieces of the posts; none where a post has no text.
        labels: Their classes.
        folds: Fold of each post, two or more.
        num_classes: Classes, some of which may be missing.
    """
    counts = _count_ngrams(texts, num_classes)
    logits = _out_of_fold_logits(counts, labels, folds, num_classes)
    penalty = INVERSE_PENALTIES[best_penalty(logits, labels)]
    model = NgramModel.fit(counts, labels, num_classes, penalty)
    return model, choose_per_fold(logits, labels, folds)


class _Counts(NamedTuple):
    """How often each post has the words, and the pairs, of each hash."""

    words: csr_array
    pairs: csr_array

    def of(self, posts: Int[np.ndarray, " some"]) -> "_Counts":
        """Return those of some posts."""
        return _Counts(self.words[posts], self.pairs[posts])

    def normalised(self, idf: Float[np.ndarray, " bucket"]) -> csr_array:
        """Return values of the n-grams of each post as `NgramClassifier` weighs them."""
        return _normalise(self.words, idf) + PAIR_WEIGHT * _normalise(self.pairs, idf)


def _count_ngrams(texts: Sequence[Sequence[int]], num_classes: int) -> _Counts:
    """Count n-grams, with at least twice as many hashes as there are different ones."""
    found: list[list[np.ndarray]] = []
    for text in texts:
        ids = torch.tensor([text], dtype=torch.int64)
        each = split_ngrams(ids, torch.ones_like(ids, dtype=torch.bool))
        found.append([grams[is_real].numpy() for grams, is_real in each])
    kinds = list(zip(*found, strict=True))
    least = BUCKETS_PER_NGRAM * sum(len(np.unique(np.concatenate(kind))) for kind in kinds)
    most = max(1, MOST_WEIGHTS // num_classes)
    buckets = 2 ** int(np.ceil(np.log2(min(max(least, 2), most))))
    return _Counts(*(_count(kind, buckets) for kind in kinds))


def _count(grams: Sequence[np.ndarray], buckets: int) -> csr_array:
    every, starts = np.concatenate(grams), np.cumsum([0, *map(len, grams)])
    counts = csr_array((np.ones(len(every)), every % buckets, starts), (len(grams), buckets))
    counts.sum_duplicates()
    return counts


@dataclass(frozen=True, slots=True)
class NgramModel:
    """A logistic regression on n-grams."""

    weight: Float[np.ndarray, "classes bucket"]
    bias: Float[np.ndarray, " classes"]
    idf: Float[np.ndarray, " bucket"]

    @classmethod
    def fit(
        cls, counts: _Counts, labels: Int[np.ndarray, " posts"], num_classes: int, penalty: float
    ) -> "NgramModel":
        """Fit on posts; a class without one has `LEAST_LOGIT`."""
        frequency = np.add(*(np.bincount(one.indices, minlength=one.shape[1]) for one in counts))
        seen, classes = np.flatnonzero(frequency), np.unique(labels)
        idf = np.zeros(len(frequency))
        idf[seen] = np.log((1 + len(labels)) / (1 + frequency[seen])) + 1
        weight = np.zeros((num_classes, len(frequency)))
        bias = np.full(num_classes, LEAST_LOGIT)
        if len(classes) == 1:
            return cls(weight, np.where(np.arange(num_classes) == classes, 0, bias), idf)
        regression = LogisticRegression(C=penalty, max_iter=MAX_ITERATIONS)
        with one_thread(), warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            regression.fit(counts.normalised(idf)[:, seen], labels)
        weight[np.ix_(classes, seen)] = for_each_class(regression.coef_)
        bias[classes] = for_each_class(regression.intercept_[:, None])[:, 0]
        return cls(weight, bias, idf)

    def logits(self, counts: _Counts) -> Float[np.ndarray, "posts classes"]:
        """Return the logits of posts."""
        return np.asarray(counts.normalised(self.idf) @ self.weight.T + self.bias)

    def classifier(self) -> NgramClassifier:
        """Return the model as a module."""
        found = NgramClassifier(len(self.idf), len(self.bias))
        found.weight.copy_(torch.from_numpy(self.weight.T))
        found.bias.copy_(torch.from_numpy(self.bias))
        found.idf.copy_(torch.from_numpy(self.idf))
        return found


def _normalise(counts: csr_array, idf: Float[np.ndarray, " bucket"]) -> csr_array:
    norm = np.sqrt(counts @ idf**2).clip(min=np.finfo(np.float32).tiny)
    return diags_array(1 / norm) @ counts @ diags_array(idf)


def _out_of_fold_logits(
    counts: _Counts,
    labels: Int[np.ndarray, " posts"],
    folds: Int[np.ndarray, " posts"],
    num_classes: int,
) -> Float[np.ndarray, "penalties posts classes"]:
    """Return the logits of each post for each penalty, from models fitted on the other folds."""
    logits = np.empty((len(INVERSE_PENALTIES), len(labels), num_classes))
    for fold in np.unique(folds):
        own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        for number, penalty in enumerate(INVERSE_PENALTIES):
            model = NgramModel.fit(counts.of(others), labels[others], num_classes, penalty)
            logits[number, own] = model.logits(counts.of(own))
    return logits
