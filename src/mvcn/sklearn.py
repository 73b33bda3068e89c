"""A scikit-learn classifier of numeric features, trained with the semantic congruity constraint."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, get_args, no_type_check

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.nn import functional as F

from mvcn.errors import MvcnError
from mvcn.losses.congruity import SemanticCongruityLoss
from mvcn.types import CongruityForm

MAX_SEED = 2**31 - 1
ONE_OR_MORE = [Interval(Integral, 1, None, closed="left")]
ZERO_OR_MORE = [Interval(Real, 0, None, closed="left")]
SMALL_STEP = 2**15
"""Outputs of the widest layer, for all rows of a step."""
FLOATS = (np.float64, np.float32)
"""Data types of rows, in which the network computes."""


class CongruityClassifier(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator
):
    """Multi-layer perceptron whose last hidden layer is pulled toward the centroid of its class.

    Parameters are named as those of `sklearn.neural_network.MLPClassifier`. As there, inputs
    should be scaled, for instance by a StandardScaler before it in a pipeline. `transform` returns
    the features that the constraint acts on.

    Args:
        hidden_layer_sizes: Width of each hidden layer; the last is the feature.
        congruity_weight: lambda, the factor of the constraint; 0 trains by cross-entropy alone.
        congruity_form: Distance to the centroid of a row's class; see `congruity_loss`.
        queue_size: Rows kept for the centroids, at most all.
        alpha: Weight decay of AdamW.
        batch_size: Rows per step, at most all.
        learning_rate_init: Learning rate of AdamW, which decays to 0 along a cosine.
        max_iter: Epochs.
        random_state: Seed of weights and order.

    Attributes:
        classes_: The classes in the order of the probabilities.
        n_iter_: Epochs trained.
        loss_curve_: Mean loss of each epoch.
    """

    hidden_layer_sizes: Sequence[int]
    congruity_weight: float
    congruity_form: CongruityForm
    queue_size: int
    alpha: float
    batch_size: int
    learning_rate_init: float
    max_iter: int
    random_state: Any

    _parameter_constraints: ClassVar[Mapping[str, Any]] = {
        "hidden_layer_sizes": ["array-like"],
        "congruity_weight": ZERO_OR_MORE,
        "congruity_form": [StrOptions(set(get_args(CongruityForm)))],
        "queue_size": ONE_OR_MORE,
        "alpha": ZERO_OR_MORE,
        "batch_size": ONE_OR_MORE,
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "max_iter": ONE_OR_MORE,
        "random_state": ["random_state"],
    }

    @no_type_check  # scikit-learn constructs with any values, which `fit` validates
    def __init__(  # noqa: PLR0913 (scikit-learn requires one argument per setting)
        self,
        hidden_layer_sizes: Sequence[int] = (100,),
        *,
        congruity_weight: float = 0.1,
        congruity_form: CongruityForm = "ratio",
        queue_size: int = 3600,
        alpha: float = 1e-4,
        batch_size: int = 200,
        learning_rate_init: float = 3e-3,
        max_iter: int = 100,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.congruity_weight = congruity_weight
        self.congruity_form = congruity_form
        self.queue_size = queue_size
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "CongruityClassifier":  # noqa: N803 (scikit-learn's name)
        """Train from scratch on rows X, ``(rows, columns)``, of classes y.

        Raises:
            ValueError: A parameter is out of range, rows and classes do not match, or training
                diverges.
        """
        self._validate_params()
        _require_sizes(self.hidden_layer_sizes)
        X, y = validate_data(self, X, y, dtype=FLOATS)  # noqa: N806
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self._dtype = X.dtype
        seed = check_random_state(self.random_state).randint(MAX_SEED)
        with torch.random.fork_rng(devices=[]), self._few_threads():
            torch.manual_seed(seed)
            self._train(torch.tensor(X), torch.from_numpy(codes))
        self.n_iter_ = self.max_iter
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        """Return the most probable class of each row."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """Return the probability of each class of each row, ``(rows, classes)``."""
        with torch.inference_mode():
            features = self._features(X)
            return self._output(features).softmax(1).numpy()

    def transform(self, X: Any) -> Any:  # noqa: N803
        """Return the last hidden layer of each row, ``(rows, hidden_layer_sizes[-1])``."""
        with torch.inference_mode():
            return self._features(X).numpy()

    @property
    def _n_features_out(self) -> int:
        return self.hidden_layer_sizes[-1]

    def _features(self, X: Any) -> Tensor:  # noqa: N803
        check_is_fitted(self)
        X = validate_data(self, X, dtype=self._dtype, reset=False)  # noqa: N806
        features: Tensor = self._body(torch.tensor(X))
        return features

    @contextmanager
    def _few_threads(self) -> Iterator[None]:
        """Compute small steps in one thread: several would wait for each other."""
        threads = torch.get_num_threads()
        if self.batch_size * max(self.hidden_layer_sizes) <= SMALL_STEP:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def _train(self, rows: Tensor, labels: Tensor) -> None:
        width = self.hidden_layer_sizes[-1]
        self._body = _hidden_layers(rows.shape[1], self.hidden_layer_sizes).to(rows.dtype)
        self._output = nn.Linear(width, len(self.classes_), dtype=rows.dtype)
        length = min(self.queue_size, len(rows))
        constraint = SemanticCongruityLoss(len(self.classes_), width, length, self.congruity_form)
        parameters = [*self._body.parameters(), *self._output.parameters()]
        optimizer = torch.optim.AdamW(
            parameters, self.learning_rate_init, weight_decay=self.alpha, fused=True
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.max_iter)
        self.loss_curve_ = []
        for epoch in range(1, self.max_iter + 1):
            self.loss_curve_.append(self._train_epoch(rows, labels, constraint, optimizer))
            schedule.step()
            if not math.isfinite(self.loss_curve_[-1]):
                raise ValueError(
                    f"Training has diverged in epoch {epoch}: scale the columns, "
                    "or lower learning_rate_init."
                )

    def _train_epoch(
        self,
        rows: Tensor,
        labels: Tensor,
        constraint: SemanticCongruityLoss,
        optimizer: torch.optim.Optimizer,
    ) -> float:
        """Return the mean loss over the rows, infinite if features are not finite."""
        total = 0.0
        for chosen in torch.split(torch.randperm(len(rows)), self.batch_size):
            try:
                loss = self._loss(rows[chosen], labels[chosen], constraint)
            except MvcnError:  # by the constraint, whose queue takes finite features alone
                return math.inf
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(chosen)
        return total / len(rows)

    def _loss(self, rows: Tensor, labels: Tensor, constraint: SemanticCongruityLoss) -> Tensor:
        features = self._body(rows)
        loss = F.cross_entropy(self._output(features), labels)
        if self.congruity_weight > 0:
            loss = loss + self.congruity_weight * constraint(features, labels)
        return loss


def _require_sizes(sizes: Any) -> None:
    if not len(sizes) or not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
        raise ValueError(
            f"The 'hidden_layer_sizes' parameter is {sizes!r}, but must name one layer or more, "
            "each of width 1 or more."
        )


def _hidden_layers(width: int, sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers with GELU after each."""
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [nn.Linear(width, size), nn.GELU()]
        width = size
    return nn.Sequential(*layers)
