"""Accumulating calibration's first step: fill the queue before the constraint is used."""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback

from mvcn.config import Prefill
from mvcn.losses.gathering import num_processes
from mvcn.losses.objective import Objective
from mvcn.models.batches import Collator, EncodedPosts
from mvcn.training.processes import ShareCollator, own_share
from mvcn.training.trainer import split_targets


class QueuePrefill(TrainerCallback):
    """Fills the centroid queue once, then switches the congruity term on.

    It draws no random number, so an interrupted run that resumes later than this stays exact.

    Args:
        objective: Owner of the queue and of the switch.
        posts: Training posts; a random `queue_size` of them go through the model.
        collator: Makes their batches.
        batch_size: Posts per forward pass.
        prefill: ``none`` starts with an empty queue, ``self`` fills it after `epochs` of
            cross-entropy alone, ``auxiliary-run`` fills it before the first step.
        epochs: For ``self``.
        seed: Of the choice of posts.
        auxiliary: The model that makes the features for ``auxiliary-run``.

    Source:
        Wei et al., ACL 2023 (accumulating calibration): an auxiliary representation module fills
        the queue. Deviation: which model the authors used is not known to us; ``self``, the model
        in training itself, is ours.
    """

    def __init__(
        self,
        objective: Objective,
        posts: EncodedPosts,
        collator: Collator,
        batch_size: int,
        prefill: Prefill,
        epochs: float,
        seed: int,
        auxiliary: PreTrainedModel | None = None,
    ) -> None:
        self.objective = objective
        self.posts = posts
        self.collator = collator
        self.batch_size = batch_size
        self.prefill = prefill
        self.epochs = epochs
        self.seed = seed
        self.auxiliary = auxiliary

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start at once unless the model must learn first."""
        if self.prefill == "auxiliary-run" and not self.objective.congruity_active:
            assert self.auxiliary is not None  # the builder gives one
            self._fill(self.auxiliary)
        if self.prefill != "self":
            self.objective.activate()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start when the model has learned from cross-entropy for long enough."""
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
            batch = {name: tensor.to(model.device) for name, tensor in self._share(rows).items()}
            inputs, targets = split_targets(batch)
            self.objective.after_step(model(**inputs), targets)
        model.train(was_training)

    def _share(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return a batch, or this process's share of it."""
        if num_processes() == 1:
            return self.collator(rows)
        share = own_share(rows, dist.get_rank(), num_processes())
        return ShareCollator(self.collator, rows[0])(share)

    def _batches(self, queue_size: int) -> list[list[dict[str, Any]]]:
        """Return as many posts as fit into the queue, sorted by length to save padding."""
        chosen = np.random.default_rng(self.seed).permutation(len(self.posts))
        order = sorted(chosen[:queue_size].tolist(), key=self.posts.lengths.__getitem__)
        starts = range(0, len(order), self.batch_size)
        return [[self.posts[i] for i in order[s : s + self.batch_size]] for s in starts]
