"""Evaluate a model on labelled posts that it was not trained on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from mvcn.evaluation.calibration import Calibration, calibrate
from mvcn.evaluation.class_balance import ClassBalance, balance_classes
from mvcn.evaluation.metrics import Evaluation, evaluate_groups, evaluate_predictions
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.models.network import probabilities
from mvcn.types import TargetScore

BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class HeldOutEvaluation:
    """Predictions for labelled posts that the model was not trained on, and their evaluation."""

    probabilities: Float[np.ndarray, "batch classes"]
    """At the temperature of `calibration`, as the saved model returns them."""
    calibration: Calibration
    balance: ClassBalance
    """Offsets for macro F1, with which `probabilities` are where that is the target."""
    evaluation: Evaluation
    by_modality: Mapping[str, Evaluation]
    """Evaluation per group of `MODALITIES`; empty if all posts are in one group."""


def evaluate_logits(
    logits: Float[np.ndarray, "batch classes"],
    posts: EncodedPosts,
    class_names: tuple[str, ...],
    target: TargetScore,
    fitted: HeldOutEvaluation | None = None,
) -> HeldOutEvaluation:
    """Evaluate the logits of held-out posts.

    Args:
        logits: One row per post.
        posts: The posts.
        class_names: Classes in the order of the logits.
        target: Score for which classes are predicted.
        fitted: Whose temperature and offsets are used; by default they are fitted on these posts.
    """
    if fitted is None:
        calibration = calibrate(logits.astype(np.float64), posts.labels)
        balance = balance_classes(logits / calibration.temperature, posts.labels)
    else:
        calibration, balance = fitted.calibration, fitted.balance
    offsets = balance.offsets if target == "macro-f1" else None
    rows = probabilities(torch.from_numpy(logits), calibration.temperature, offsets).numpy()
    return HeldOutEvaluation(
        rows,
        calibration,
        balance,
        evaluate_predictions(rows, posts.labels, class_names),
        evaluate_groups(rows, posts.labels, posts.modalities, class_names),
    )


def evaluate_dev(
    model: MvcnForClassification,
    dev: EncodedPosts,
    target: TargetScore,
    fitted: HeldOutEvaluation | None,
) -> dict[str, HeldOutEvaluation]:
    """Return the evaluation on ``dev`` posts, which select nothing; nothing if there are none.

    Args:
        model: In evaluation mode.
        dev: Dev posts.
        target: As for `evaluate_logits`.
        fitted: As for `evaluate_logits`.
    """
    if not len(dev):
        return {}
    return {"dev": evaluate_logits(_logits(model, dev), dev, model.class_names, target, fitted)}


@torch.inference_mode()
def _logits(
    model: MvcnForClassification, posts: EncodedPosts
) -> Float[np.ndarray, "batch classes"]:
    rows = np.empty((len(posts), len(model.class_names)))
    for chosen in posts.batches(BATCH_SIZE):
        rows[chosen] = model(**posts.inputs(chosen)).logits.double().numpy()
    return rows
