"""Callbacks of the Trainer: prefill of the queue, averaged weights, and the progress shown."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, TrainerCallback
from transformers.trainer_callback import ProgressCallback

from mvcn.config import Prefill
from mvcn.encoders.tokens import token_width
from mvcn.errors import ConfigError
from mvcn.inputs.batches import EncodedPosts
from mvcn.losses.distributed import num_processes
from mvcn.losses.objective import Objective, split_targets
from mvcn.models.classification import MvcnForClassification
from mvcn.training.distributed import RankCollator, rank_batch
from mvcn.training.run_folder import Run

AUXILIARY_FOLDER = "auxiliary"
"""Folder in the run folder for checkpoints of the auxiliary module while it is trained."""
ETA = 3
STEPS_BETWEEN_CHECKPOINTS = 1_000
"""Fewest optimizer steps between two checkpoints within an epoch."""


@dataclass(eq=False)
class QueuePrefill(TrainerCallback):
    """Fills the centroid queue once, then activates the congruity term.

    It draws no random number, so an interrupted run gives the same result when it resumes.

    Args:
        objective: Owner of the queue; is activated.
        posts: Training posts; a random `queue_size` of them go through the model.
        batch_size: Posts per forward pass.
        prefill: ``none`` starts with an empty queue, ``self`` fills it after `epochs` of
            cross-entropy alone, ``auxiliary`` and ``auxiliary-run`` before the first step.
        epochs: For ``self``.
        seed: Seed of the choice of posts.
        auxiliary: Model that computes the features for ``auxiliary`` and ``auxiliary-run``, and is
            then discarded.

    Source:
        Wei et al., ACL 2023 (accumulating calibration): an auxiliary representation module fills
        the queue. Deviation: which model the authors used, and how they trained it, is not known
        to us: ``auxiliary`` is a copy of the model, trained separately on cross-entropy alone.
        ``self``, which uses the model in training instead, is ours.
    """

    objective: Objective
    posts: EncodedPosts
    batch_size: int
    prefill: Prefill
    epochs: float
    seed: int
    auxiliary: PreTrainedModel | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Activate the objective at once, unless the model is to be trained first."""
        if self.auxiliary is not None and not self.objective.congruity_active:
            self._fill(self.auxiliary)
            self.auxiliary = None
        if self.prefill != "self":
            self.objective.activate()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Fill and activate once the model was trained on cross-entropy for `epochs`."""
        is_due = state.epoch is not None and state.epoch >= self.epochs
        if self.prefill == "self" and is_due and not self.objective.congruity_active:
            self._fill(kwargs["model"])
            self.objective.activate()

    @torch.no_grad()
    def _fill(self, model: PreTrainedModel) -> None:
        """Put the fused features of training posts into the queue, if there is one."""
        if self.objective.queue is None:
            return
        self.objective.queue.reset()
        was_training = model.training
        model.eval()
        self.objective.train()
        for rows in self._batches(self.objective.queue.size):
            batch = {name: tensor.to(model.device) for name, tensor in self._collate(rows).items()}
            inputs, targets = split_targets(batch)
            self.objective.after_step(model(**inputs), targets)
        model.train(was_training)

    def _collate(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return a batch, or the rank batch of this process."""
        if num_processes() == 1:
            return self.posts.collate(rows)
        own = rank_batch(rows, dist.get_rank(), num_processes())
        return RankCollator(self.posts.collate, rows[0])(own)

    def _batches(self, queue_size: int) -> list[list[dict[str, Any]]]:
        """Return batches of as many posts as fit into the queue, sorted by length."""
        chosen = np.random.default_rng(self.seed).permutation(len(self.posts))
        order = sorted(chosen[:queue_size].tolist(), key=self.posts.lengths.__getitem__)
        starts = range(0, len(order), self.batch_size)
        return [[self.posts[i] for i in order[s : s + self.batch_size]] for s in starts]


def load_auxiliary(run: Path | None, model: MvcnForClassification) -> MvcnForClassification:
    """Return the model of a finished run, to fill the queue of another run.

    Args:
        run: Run folder, from `objective.prefill_run`.
        model: Model in training.

    Raises:
        ConfigError: No run is given, or its model has other classes, feature size or encoders.
        RunError: The folder is not a run.
    """
    if run is None:
        raise ConfigError(
            "Prefill 'auxiliary-run' needs a run folder: use --set objective.prefill_run=RUN."
        )
    auxiliary = Run(run).model
    _require_alike(auxiliary, model, run)
    return auxiliary


def _require_alike(
    auxiliary: MvcnForClassification, model: MvcnForClassification, run: Path
) -> None:
    """Raise a ConfigError unless the auxiliary model has the same inputs and outputs."""
    for what, one, other in (
        ("classes", auxiliary.class_names, model.class_names),
        ("feature size", auxiliary.network.feature_size, model.network.feature_size),
        ("text encoder", *(_kind_of(m.config.text_config) for m in (auxiliary, model))),
        ("image encoder", *(_kind_of(m.config.image_config) for m in (auxiliary, model))),
    ):
        if one != other:
            raise ConfigError(
                f"The run {run} cannot fill the queue, because its {what} is {one} instead of "
                f"{other}: use another run as objective.prefill_run."
            )


def _kind_of(encoder_config: PreTrainedConfig) -> tuple[str, int]:
    return encoder_config.model_type, token_width(encoder_config)


class WeightAverage(TrainerCallback):
    r"""Exponential moving average of the trained weights.

    .. math::
        \bar w \leftarrow (1 - s_t) \, \bar w + s_t \, w, \qquad
        s_t = \max\Bigl(1 - \beta, \frac{\eta + 1}{t + \eta}\Bigr)

    after optimizer step t = 1, 2, ...; eta is 3. The average thus covers about the last quarter of
    the steps, and never more than beta allows: otherwise a short run would keep its first weights.
    It holds one more copy of the trained weights in memory.

    Args:
        model: The model in training.
        decay: beta; 0 keeps the last weights.

    Source:
        Polyak & Juditsky, SIAM J. Control Optim. 1992; as a moving average, Tarvainen & Valpola,
        NeurIPS 2017; its warm-up, Shamir & Zhang, ICML 2013 (polynomial decay).  Not in Wei et
        al., ACL 2023; ours, and off by default.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.averages = {n: p.detach().clone() for n, p in self.weights.items()}

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Update the average after an optimizer step."""
        share = max(1 - self.decay, (ETA + 1) / (state.global_step + ETA))
        torch._foreach_lerp_(list(self.averages.values()), list(self.weights.values()), share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use the averaged weights in the model within the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def apply(self) -> None:
        """Use the averaged weights in the model from now on."""
        self._swap()

    def running_weights(self) -> dict[str, Tensor]:
        """Return the weights that the model does not hold: within `applied`, those in training."""
        return self.averages

    @torch.no_grad()
    def restore(self, running: Mapping[str, Tensor]) -> None:
        """Take the model's weights as the average, and `running` as its weights in training."""
        for name, weight in self.weights.items():
            self.averages[name].copy_(weight)
            weight.copy_(running[name])

    def _swap(self) -> None:
        for name, weight in self.weights.items():
            weight.data, self.averages[name] = self.averages[name], weight.data


class CheckpointsWithinEpochs(TrainerCallback):
    """Saves checkpoints within long epochs, at steps at which losses are logged.

    So a resumed run logs what an uninterrupted one does: nothing was added up since the last log.
    """

    def __init__(self) -> None:
        self._last_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count from the checkpoint that is resumed, if any."""
        self._last_step = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Request a checkpoint if one is due; the end of an epoch has its own."""
        is_due = state.global_step - self._last_step >= STEPS_BETWEEN_CHECKPOINTS
        if control.should_log and is_due and not float(state.epoch).is_integer():
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count from this checkpoint."""
        self._last_step = state.global_step


class EpochLines(ProgressCallback):
    """The Trainer's progress bars, and one line per evaluation."""

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the dev metrics; all other logs only go to the history file."""
        if logs and "eval_accuracy" in logs and self.training_bar is not None:
            self.training_bar.write(_line(logs, float(args.num_train_epochs)))


def _line(logs: Mapping[str, float], epochs: float) -> str:
    return (
        f"epoch {logs['epoch']:.0f} of {epochs:.0f}: dev loss {logs['eval_loss']:.3f}, "
        f"accuracy {100 * logs['eval_accuracy']:.1f}, "
        f"weighted F1 {100 * logs['eval_f1_weighted']:.1f}"
    )
