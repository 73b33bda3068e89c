"""The semantic congruity constraint for any Hugging Face classifier of texts or images."""

from collections.abc import MutableMapping, Sized
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from mvcn.errors import ConfigError, DataError
from mvcn.files import save_tensors
from mvcn.losses.congruity import SemanticCongruityLoss
from mvcn.training.trainer import TermTrainer
from mvcn.types import CongruityForm

CONGRUITY_FILE = "congruity.safetensors"


class SemanticCongruityTrainer(TermTrainer):
    """A Trainer that adds the constraint to the loss that the model returns.

    It constrains the input of the model's output layer, one vector per sample. Each micro-batch
    enters the queue once; the queue is saved and restored with each checkpoint, and is the same on
    all processes. With gradient accumulation the loss is the mean over micro-batches, whatever
    ``num_items_in_batch`` is.

    Args:
        model: A classifier that takes ``labels``, one class per sample, and returns its loss.
        congruity_weight: lambda, the factor of the constraint.
        queue_size: Samples in the queue, N; see `SemanticCongruityLoss`. At most the number of
            training samples is used: a longer queue would take more than an epoch to fill.
        congruity_form: Form of the loss; see `congruity_loss`.
        output_layer: Layer whose input is constrained; by default the last linear layer with as
            many outputs as ``model.config.num_labels``.
        options: Options of the Trainer.

    Raises:
        ConfigError: The model has no such layer, or an option is invalid.

    Source:
        Wei et al., ACL 2023, for one model of texts and images; its use for other classifiers is
        their outlook. The default weight and layer are our choice.
    """

    loss_is_scaled_for_ga = False
    """Tells the Trainer to divide the loss by the accumulation steps."""

    def __init__(
        self,
        model: nn.Module,
        *arguments: Any,
        congruity_weight: float = 0.1,
        queue_size: int = 3600,
        congruity_form: CongruityForm = "ratio",
        output_layer: nn.Linear | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, *arguments, **options)
        if congruity_weight < 0:
            raise ConfigError(f"The congruity weight is {congruity_weight}, but must be 0 or more.")
        layer = output_layer or find_output_layer(model)
        self.congruity_weight = congruity_weight
        self.congruity = SemanticCongruityLoss(
            layer.out_features, layer.in_features, self._queue_size(queue_size), congruity_form
        ).to(self.args.device)
        layer.register_forward_pre_hook(self._keep_features)
        self._features: Tensor | None = None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: MutableMapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the loss of the model, in training plus the weighted constraint.

        Raises:
            ConfigError: The input of the output layer is not one vector per sample.
            DataError: The labels are not one class per sample.
        """
        labels = inputs.get("labels")
        if labels is None:
            raise ConfigError("The constraint needs labels: add the key 'labels' to each batch.")
        loss, output = super().compute_loss(model, inputs, return_outputs=True)
        if model.training:
            congruity = self.congruity(self._take_features(labels), labels)
            self.add_terms({"congruity": congruity})
            loss = loss + self.congruity_weight * congruity
        return (loss, output) if return_outputs else loss

    def _queue_size(self, largest: int) -> int:
        data = self.train_dataset
        return min(largest, len(data)) if isinstance(data, Sized) and len(data) else largest

    def _keep_features(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (self._features,) = inputs

    def _take_features(self, labels: Tensor) -> Tensor:
        features, self._features = self._features, None
        if labels.dim() != 1:
            raise DataError(
                "The constraint needs one class per sample, so labels must have shape (batch,), "
                f"not {tuple(labels.shape)}."
            )
        if features is None or features.shape[:-1] != labels.shape:
            shape = None if features is None else tuple(features.shape)
            raise ConfigError(
                "The constraint needs one vector per sample, but the input of the output layer has "
                f"shape {shape} for {len(labels)} samples: pass another layer as output_layer."
            )
        return features

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            save_tensors(self.congruity.state_dict(), folder / CONGRUITY_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.congruity.load_state_dict(load_file(Path(resume_from_checkpoint) / CONGRUITY_FILE))


def find_output_layer(model: nn.Module) -> nn.Linear:
    """Return the last linear layer with one output per class.

    Raises:
        ConfigError: There is none, or the model's config has no ``num_labels``.
    """
    num_labels = getattr(getattr(model, "config", None), "num_labels", None)
    for layer in reversed(list(model.modules())):
        if isinstance(layer, nn.Linear) and layer.out_features == num_labels:
            return layer
    raise ConfigError(
        f"{type(model).__name__} has no linear layer with one output for each of {num_labels} "
        "classes: pass its last layer as output_layer."
    )
