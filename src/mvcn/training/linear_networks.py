"""Fit the networks that are linear in mean tokens: logistic regressions in place of training."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from mvcn.inputs.batches import EncodedPosts
from mvcn.models.baselines import LinearNetwork
from mvcn.models.classification import MvcnForClassification
from mvcn.training.features import pooled_features
from mvcn.training.linear import LinearModel, cross_validate

LEAST_LOGIT = -20.0
"""Of a class without a training post, which would be minus infinity."""


def fit_linear_network(
    model: MvcnForClassification, posts: EncodedPosts, folds: Int[np.ndarray, " posts"]
) -> Float[np.ndarray, "posts classes"] | None:
    """Set the weights of a linear network; return out-of-fold logits, None if there is one fold.

    Args:
        model: Its network is a `LinearNetwork`; its encoders are frozen.
        posts: Training posts.
        folds: Fold of each post; they also choose the penalty.
    """
    network, text_layers = model.network, model.config.lower_text_layers + 1
    assert isinstance(network, LinearNetwork)  # its caller has checked that
    pooled = pooled_features(model, posts, range(len(posts)), text_layers)
    for weight in network.parameters():  # what no training post has says nothing
        nn.init.zeros_(weight)
    total, count = np.zeros((len(posts), len(model.class_names))), np.zeros((len(posts), 1))
    for name in network.inputs:
        has = posts.present[name]
        if not has.any():
            continue
        features, labels = getattr(pooled, name)[has], posts.labels[has]
        found = cross_validate(features, labels, folds[has], total.shape[1])
        set_weights(network.classifiers[name], found.model)
        if found.out_of_fold is not None:
            total[has] += np.log(found.out_of_fold.clip(min=np.exp(LEAST_LOGIT)))
            count[has] += 1
    return total / count.clip(min=1) if count.any() else None


@torch.no_grad()
def set_weights(classifier: nn.Module, fitted: LinearModel) -> None:
    """Set the weights of a linear layer; a class without a training post has `LEAST_LOGIT`."""
    assert isinstance(classifier, nn.Linear)
    classifier.weight.copy_(torch.from_numpy(fitted.weight))
    classifier.bias.copy_(torch.from_numpy(fitted.bias.clip(min=LEAST_LOGIT)))
