"""Logit adjustment: a trained model predicts rare classes more often, for a higher macro F1."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mvcn.evaluation.metrics import accuracy, f1_macro

STRENGTHS = np.linspace(0, 2, 21)
"""tau: 0 leaves the model as it is, 1 predicts as if all classes were equally frequent."""
FOLDS = 5


@dataclass(frozen=True, slots=True)
class ClassBalance:
    """Offsets of the logits for macro F1, and scores with them on posts that did not choose them.

    All scores are from 0 to 1.
    """

    strength: float
    """tau; 0 where no offset gives a higher macro F1 on posts that did not choose it."""
    offsets: tuple[float, ...]
    """What is added to each class's logit, divided by the temperature; they sum to 0."""
    accuracy_before: float
    f1_macro_before: float
    accuracy_after: float
    """Of each fifth of the posts with the offsets that the others choose."""
    f1_macro_after: float
    """The same."""


def balance_classes(
    logits: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> ClassBalance:
    r"""Choose offsets of the logits for the best macro F1, and score them by cross-fitting.

    .. math::
        l_k \leftarrow l_k - \tau \log \pi_k

    with the share of the class pi_k among the posts, where each class has one post more than it
    has, so that no share is 0. One number tau is chosen, of 0, 0.1, ... 2, and not an offset for
    each class: few posts are enough.

    Args:
        logits: Of posts that the model was not trained on, divided by the temperature.
        labels: Their classes.

    Source:
        Menon et al., ICLR 2021, "Long-tail learning via logit adjustment", Section 4.1 (post hoc).
        Deviation: there tau is 1, or chosen for the mean recall of the classes.
    """
    fold = np.arange(len(labels)) % FOLDS
    fitted = np.empty_like(logits)
    for number in range(FOLDS):
        others = fold != number
        strength = _best_strength(logits[others], labels[others])
        fitted[~others] = strength * _rarity(logits[others], labels[others])
    before, after = _confusion(logits, labels), _confusion(logits + fitted, labels)
    strength = _best_strength(logits, labels) if f1_macro(after) > f1_macro(before) else 0.0
    return ClassBalance(
        strength,
        tuple((strength * _rarity(logits, labels)).tolist()),
        float(accuracy(before)),
        float(f1_macro(before)),
        float(accuracy(after)),
        float(f1_macro(after)),
    )


def _rarity(
    logits: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> Float[np.ndarray, " classes"]:
    """Return -log of each class's share, minus the mean over classes."""
    logs = -np.log(np.bincount(labels, minlength=logits.shape[1]) + 1.0)
    return np.asarray(logs - logs.mean())


def _best_strength(
    logits: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> float:
    """Return the smallest of the strengths with the best macro F1."""
    rarity = _rarity(logits, labels)
    adjusted = [_confusion(logits + strength * rarity, labels) for strength in STRENGTHS]
    return float(STRENGTHS[f1_macro(np.array(adjusted)).argmax()])


def _confusion(
    logits: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> Float[np.ndarray, "classes classes"]:
    classes = logits.shape[1]
    pairs = np.bincount(labels * classes + logits.argmax(1), minlength=classes**2)
    return pairs.reshape(classes, classes).astype(float)
