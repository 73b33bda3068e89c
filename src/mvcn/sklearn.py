"""A scikit-learn classifier of numeric features, trained with the semantic congruity constraint."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, get_args, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import issparse
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor, nn
from torch.nn import functional as F

from mvcn.errors import MvcnError
from mvcn.losses.congruity import SemanticCongruityLoss, congruity_mean
from mvcn.losses.queue import compare
from mvcn.types import CongruityForm

MAX_SEED = 2**31 - 1
ONE_OR_MORE = [Interval(Integral, 1, None, closed="left")]
ZERO_OR_MORE = [Interval(Real, 0, None, closed="left")]
SMALL_STEP = 2**15
"""Outputs of the widest layer, for all rows of a step."""
SPARSE_ROWS_AT_ONCE = 1000
"""Rows of a sparse matrix that are made dense at a time."""
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
        class_weight: Factor of each class in the loss by its name, 1 for others; or ``balanced``,
            which gives all classes the same share; None for the same factor.
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
    class_weight: Mapping[Any, float] | str | None
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
        "class_weight": [dict, StrOptions({"balanced"}), None],
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
        class_weight: Mapping[Any, float] | str | None = None,
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
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(  # noqa: D417 (X and y are in the first sentence)
        self,
        X: Any,  # noqa: N803 (scikit-learn's name)
        y: Any,
        sample_weight: Any = None,
    ) -> "CongruityClassifier":
        """Train from scratch on rows X, ``(rows, columns)``, dense or sparse, of classes y.

        Args:
            sample_weight: Factor of each row in both parts of the loss and in the centroids, 0 or
                more; only their ratios count. A row of weight 2 is as good as two rows, up to the
                order in which batches are drawn and the number of steps.

        Raises:
            ValueError: A parameter is out of range, rows, classes and weights do not match, or
                training diverges.
        """
        self._validate_params()
        _require_sizes(self.hidden_layer_sizes)
        X, y = validate_data(self, X, y, dtype=FLOATS, accept_sparse="csr")  # noqa: N806
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self._dtype = X.dtype
        weights = self._weights(X, y, codes, sample_weight)
        if weights is not None:
            X, codes, weights = X[weights > 0], codes[weights > 0], weights[weights > 0]  # noqa: N806
        seed = check_random_state(self.random_state).randint(MAX_SEED)
        with torch.random.fork_rng(devices=[]), self._few_threads():
            torch.manual_seed(seed)
            given = None if weights is None else torch.from_numpy(weights)
            self._train(Rows(X), torch.from_numpy(codes), given)
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

    def predict_log_proba(self, X: Any) -> Any:  # noqa: N803
        """Return the logarithms of `predict_proba`, finite also where it rounds to 0."""
        with torch.inference_mode():
            features = self._features(X)
            return self._output(features).log_softmax(1).numpy()

    def transform(self, X: Any) -> Any:  # noqa: N803
        """Return the last hidden layer of each row, ``(rows, hidden_layer_sizes[-1])``."""
        with torch.inference_mode():
            return self._features(X).numpy()

    @property
    def _n_features_out(self) -> int:
        return self.hidden_layer_sizes[-1]

    def _features(self, X: Any) -> Tensor:  # noqa: N803
        check_is_fitted(self)
        X = validate_data(self, X, dtype=self._dtype, reset=False, accept_sparse="csr")  # noqa: N806
        return torch.cat([self._body(some) for some in Rows(X).parts()])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _weights(
        self, rows: Any, classes: Any, codes: Any, sample_weight: Any
    ) -> Float[np.ndarray, " rows"] | None:
        """Return the weight of each row with a mean of 1 over those above 0; None if all are 1."""
        if sample_weight is None and self.class_weight is None:
            return None
        weights = _check_sample_weight(
            sample_weight, rows, dtype=rows.dtype, ensure_non_negative=True
        )
        kept = weights > 0
        present = np.unique(codes[kept])
        by_class = np.ones(len(self.classes_), weights.dtype)
        _require_factors(self.class_weight)
        by_class[present] = compute_class_weight(
            self.class_weight,
            classes=self.classes_[present],
            y=classes[kept],
            sample_weight=weights[kept],
        )
        weights = weights * by_class[codes]
        if not weights.any():
            raise ValueError("Every row has a weight of 0: give at least one row a larger one.")
        found: Float[np.ndarray, " rows"] = weights / weights[weights > 0].mean()
        return found

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

    def _train(self, rows: "Rows", labels: Tensor, weights: Tensor | None) -> None:
        width, dtype = self.hidden_layer_sizes[-1], torch.from_numpy(np.empty(0, self._dtype)).dtype
        self._body = _hidden_layers(rows.width, self.hidden_layer_sizes).to(dtype)
        self._output = nn.Linear(width, len(self.classes_), dtype=dtype)
        length = min(self.queue_size, len(rows))
        kind = SemanticCongruityLoss if weights is None else WeightedCongruityLoss
        constraint = kind(len(self.classes_), width, length, self.congruity_form)
        parameters = [*self._body.parameters(), *self._output.parameters()]
        optimizer = torch.optim.AdamW(
            parameters, self.learning_rate_init, weight_decay=self.alpha, fused=True
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.max_iter)
        self.loss_curve_ = []
        for epoch in range(1, self.max_iter + 1):
            loss = self._train_epoch(rows, labels, weights, constraint, optimizer)
            self.loss_curve_.append(loss)
            schedule.step()
            if not math.isfinite(self.loss_curve_[-1]):
                raise ValueError(
                    f"Training has diverged in epoch {epoch}: scale the columns, "
                    "or lower learning_rate_init."
                )

    def _train_epoch(
        self,
        rows: "Rows",
        labels: Tensor,
        weights: Tensor | None,
        constraint: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> float:
        """Return the mean loss over the rows, infinite if features are not finite."""
        total = 0.0
        for chosen in torch.split(torch.randperm(len(rows)), self.batch_size):
            try:
                some = None if weights is None else weights[chosen]
                loss = self._loss(rows[chosen], labels[chosen], some, constraint)
            except MvcnError:  # by the constraint, whose queue takes finite features alone
                return math.inf
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(chosen)
        return total / len(rows)

    def _loss(
        self, rows: Tensor, labels: Tensor, weights: Tensor | None, constraint: nn.Module
    ) -> Tensor:
        features = self._body(rows)
        logits = self._output(features)
        given: tuple[Tensor, ...] = (features, labels)
        if weights is None:
            loss = F.cross_entropy(logits, labels)
        else:
            loss = (weights * F.cross_entropy(logits, labels, reduction="none")).mean()
            given = (features, labels, weights)
        if self.congruity_weight > 0:
            loss = loss + self.congruity_weight * constraint(*given)
        return loss


class Rows:
    """Rows of a dense array or a sparse matrix, of which only some at a time become tensors.

    Args:
        rows: An array, or a matrix in CSR format.
    """

    def __init__(self, rows: Any) -> None:
        self._rows = rows if issparse(rows) else torch.tensor(rows)

    def __len__(self) -> int:
        return int(self._rows.shape[0])

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self._rows.shape[1])

    def __getitem__(self, chosen: Tensor) -> Float[Tensor, "some column"]:
        if isinstance(self._rows, Tensor):
            return self._rows[chosen]
        return torch.from_numpy(self._rows[chosen.numpy()].toarray())

    def parts(self) -> Iterator[Float[Tensor, "some column"]]:
        """Yield all rows in order, dense ones at once."""
        size = len(self) if isinstance(self._rows, Tensor) else SPARSE_ROWS_AT_ONCE
        for chosen in torch.split(torch.arange(len(self)), size):
            yield self[chosen]


class WeightedCongruityLoss(nn.Module):
    """The semantic congruity constraint on rows that have weights, in the loss and in centroids.

    Other than `SemanticCongruityLoss` it computes the centroids of the last rows anew in each step,
    and uses each from the first row of its class on.

    Args:
        num_classes: Classes K.
        dim: Width of a feature.
        queue_size: Rows whose weighted means are the centroids.
        form: Form of the loss; see `congruity_loss`.
    """

    def __init__(self, num_classes: int, dim: int, queue_size: int, form: CongruityForm) -> None:
        super().__init__()
        self.form: CongruityForm = form
        self.num_classes = num_classes
        self.queue_size = queue_size
        self._features = torch.empty(0, dim)
        self._labels = torch.empty(0, dtype=torch.long)
        self._weights = torch.empty(0, dtype=torch.float64)

    def forward(
        self,
        features: Float[Tensor, "batch dim"],
        labels: Int[Tensor, " batch"],
        weights: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """Return the sum of the weighted losses over the number of rows, then keep the rows."""
        comparison = compare(labels, *self._centroids())
        loss = congruity_mean(features, comparison, self.form, weights=weights) * weights.mean()
        pairs = ((self._features, features), (self._labels, labels), (self._weights, weights))
        self._features, self._labels, self._weights = (
            torch.cat([kept, new.detach().to(kept.dtype)])[-self.queue_size :]
            for kept, new in pairs
        )
        return loss

    def _centroids(self) -> tuple[Float[Tensor, "classes dim"], Int[Tensor, " classes"]]:
        """Return the weighted mean of each class, and whether it has any row."""
        member = F.one_hot(self._labels, self.num_classes).double() * self._weights.unsqueeze(1)
        totals = member.sum(0)
        sums = member.T @ self._features.double()
        return sums / totals.where(totals > 0, 1).unsqueeze(1), (totals > 0).long()


def _require_sizes(sizes: Any) -> None:
    if not len(sizes) or not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
        raise ValueError(
            f"The 'hidden_layer_sizes' parameter is {sizes!r}, but must be at least one width of 1 "
            "or more."
        )


def _require_factors(class_weight: Any) -> None:
    """Raise a ValueError unless the factors of classes are finite numbers of 0 or more."""
    for name, factor in (class_weight if isinstance(class_weight, Mapping) else {}).items():
        if not (isinstance(factor, Real) and 0 <= float(factor) < math.inf):
            raise ValueError(
                f"The 'class_weight' of class {name!r} is {factor!r}, but must be a finite number "
                "of 0 or more."
            )


def _hidden_layers(width: int, sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers with GELU after each."""
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [nn.Linear(width, size), nn.GELU()]
        width = size
    return nn.Sequential(*layers)
