"""The Hugging Face Trainer with an objective outside the model."""

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import EvalPrediction, Trainer
from transformers.trainer_utils import rotate_checkpoints

from mvcn.errors import ConfigError, MvcnError, RunError
from mvcn.evaluation.metrics import evaluate_predictions
from mvcn.files import save_tensors
from mvcn.inputs.batches import EncodedPosts, LengthBuckets
from mvcn.losses.distributed import num_processes
from mvcn.losses.objective import Objective, Targets, split_targets
from mvcn.losses.plugged_in import OWN_NAMES
from mvcn.models.adapters import has_adapters, without_frozen
from mvcn.models.network import probabilities
from mvcn.training.arguments import BEST_METRIC
from mvcn.training.callbacks import WeightAverage
from mvcn.training.checkpoints import advice_after_failed_write, mark_complete, writing
from mvcn.training.distributed import RankBatchSampler, RankCollator, seed_rank

OBJECTIVE_FILE = "objective.safetensors"
RUNNING_WEIGHTS_FILE = "running.safetensors"
KEPT_CHECKPOINTS = 2
HEADLINE_METRICS = ("accuracy", BEST_METRIC, "f1_macro", "expected_calibration_error")


class TermTrainer(Trainer):
    """A Trainer that also logs the mean of each loss term since the last log."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._terms: dict[str, list[Tensor]] = {}

    def add_terms(self, terms: Mapping[str, Tensor]) -> None:
        """Collect the terms of one batch without waiting for their values."""
        for name, value in terms.items():
            self._terms.setdefault(name, []).append(value.detach())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean of each term over the batches of all processes."""
        if "loss" in logs:
            for name, values in self._terms.items():
                mean = torch.stack(values).mean()
                if num_processes() > 1:
                    dist.all_reduce(mean)
                logs[name] = mean.item() / num_processes()
            self._terms.clear()
        super().log(logs, start_time)


class MvcnTrainer(TermTrainer):
    """Trains any classifier by an `Objective`, whose state is saved with each checkpoint.

    Differences from the Trainer: the loss is computed outside the model and its terms are logged by
    name; each micro-batch enters the queue once, after its backward pass; encoders have a separate
    learning rate; the order of posts depends only on seed and epoch; averaged weights, if any, are
    evaluated and saved. Several processes share each batch, with the results of a single process. A
    checkpoint counts only once it is complete.
    """

    def __init__(
        self,
        *,
        objective: Objective,
        encoder_learning_rate: float,
        class_names: tuple[str, ...],
        batch_size: int,
        balanced_sampling: bool = False,
        average: WeightAverage | None = None,
        **options: Any,
    ) -> None:
        super().__init__(compute_metrics=self._headline_metrics, **options)
        self.objective = objective.to(self.args.device)
        self.encoder_learning_rate = encoder_learning_rate
        self.class_names = class_names
        self.batch_size = batch_size
        self.balanced_sampling = balanced_sampling
        self.average = average
        if average is not None:
            if self.is_fsdp_enabled:
                raise ConfigError(
                    "Weights cannot be averaged with FSDP, which shards them: use "
                    "--set training.weight_average_decay=0."
                )
            self.add_callback(average)
        self._step: tuple[Any, Targets] | None = None
        self._last_terms: Mapping[str, Tensor] = {}
        if self.args.process_index > 0:  # the first one keeps the draws of a single process
            seed_rank(self.args.seed, 0, self.args.process_index)

    def logits(self, posts: EncodedPosts) -> Float[np.ndarray, "batch classes"]:
        """Return the logits of the current model in the precision of its weights."""
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        found: Float[np.ndarray, "batch classes"] = self.predict(posts).predictions
        return found

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the objective's loss, averaged over the posts of a batch."""
        inputs, targets = split_targets(inputs)
        if not model.training:
            targets = self._mask_repeats(targets)
        output = model(**inputs)
        terms = self.objective.train(model.training)(output, targets)
        loss = terms.pop("loss")
        if model.training:
            self._step, self._last_terms = (output, targets), terms
            self.add_terms(terms)
        return (loss, output) if return_outputs else loss

    def _mask_repeats(self, targets: Targets) -> Targets:
        """Mask the repeated posts that pad the last evaluation batch of several processes."""
        loader, size = self.accelerator.gradient_state, len(targets.labels)
        is_filled_up = loader.end_of_dataloader and loader.remainder > 0
        if self.args.world_size == 1 or not is_filled_up:
            return targets
        place = self.args.process_index * size + torch.arange(size, device=targets.labels.device)
        return targets._replace(valid_mask=place < loader.remainder)

    def training_step(self, *arguments: Any, **options: Any) -> Tensor:
        """Train on one micro-batch, then add it to the queue.

        Raises:
            MvcnError: The loss is not finite.
        """
        loss: Tensor = super().training_step(*arguments, **options)
        if not torch.isfinite(loss):
            raise MvcnError(self._why_not_finite())
        assert self._step is not None  # compute_loss has set it
        self.objective.after_step(*self._step)
        self._step = None
        return loss

    def _why_not_finite(self) -> str:
        wrong = [name for name, value in self._last_terms.items() if not torch.isfinite(value)]
        theirs = [name for name in wrong if name not in OWN_NAMES]
        remedy = (
            f"correct the loss '{theirs[0]}', or lower its weight in objective.losses"
            if theirs and len(theirs) == len(wrong)
            else "lower training.encoder_learning_rate and training.fusion_learning_rate"
        )
        what = f" ({', '.join(wrong)})" if wrong else ""
        return f"The loss{what} is not finite at step {self.state.global_step}: {remedy}."

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Create AdamW with a separate rate for encoders, and no decay of biases and norms."""
        if self.optimizer is None:
            self.optimizer: Any = torch.optim.AdamW(self._parameter_groups(), fused=True)
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: the Trainer's estimate, which is not used, walks the model at each step."""
        return 0

    def _parameter_groups(self) -> list[dict[str, Any]]:
        decayed = set(self.get_decay_parameter_names(self.model))
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                kind = ("encoder." in name, name in decayed)
                groups.setdefault(kind, []).append(parameter)
        rates = {True: self.encoder_learning_rate, False: self.args.learning_rate}
        return [
            {
                "params": parameters,
                "lr": rates[is_encoder],
                "weight_decay": self.args.weight_decay if is_decayed else 0.0,
            }
            for (is_encoder, is_decayed), parameters in groups.items()
        ]

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        posts: EncodedPosts = self.train_dataset
        labels = posts.labels if self.balanced_sampling else None
        return LengthBuckets(posts.lengths, self.batch_size, self.args.seed, labels)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the batches, or the rank batches of this process."""
        if self.args.world_size == 1:
            loader: DataLoader[Any] = super().get_train_dataloader()
            return loader
        posts: EncodedPosts = self.train_dataset
        rank, processes = self.args.process_index, self.args.world_size
        return DataLoader(
            posts,
            batch_sampler=RankBatchSampler(
                self._get_train_sampler(), self.batch_size, rank, processes
            ),
            collate_fn=RankCollator(self.data_collator, posts[0]),
        )

    def _maybe_log_save_evaluate(self, *arguments: Any, **options: Any) -> None:
        is_due = self.control.should_evaluate or self.control.should_save
        with self.average.applied() if self.average and is_due else nullcontext():
            super()._maybe_log_save_evaluate(*arguments, **options)

    def full_state_dict(self) -> dict[str, Tensor] | None:
        """Return the complete weights if FSDP shards them, else None; for all processes to call."""
        if not self.is_fsdp_enabled:
            return None
        weights: dict[str, Tensor] = self.accelerator.get_state_dict(self.model)
        return weights

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a complete checkpoint, and only then delete older ones.

        Raises:
            RunError: It could not be written; its files are removed, older checkpoints are kept.
        """
        checkpoints = Path(self.args.output_dir)
        folder = checkpoints / f"checkpoint-{self.state.global_step}"
        self._begin(folder)
        try:
            with writing(folder, advice_after_failed_write(checkpoints.parent)):
                self._save_own_state(folder)
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    mark_complete(folder)
        except RunError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            rotate_checkpoints(str(checkpoints), KEPT_CHECKPOINTS, best, use_mtime=True)

    def _begin(self, folder: Path) -> None:
        """Delete leftovers of an earlier attempt at this checkpoint before any process writes."""
        if self.args.should_save and folder.exists():
            shutil.rmtree(folder)
        self.accelerator.wait_for_everyone()

    def _save_own_state(self, folder: Path) -> None:
        if not self.args.should_save:
            return
        folder.mkdir(parents=True)
        save_tensors(self.objective.state_dict(), folder / OBJECTIVE_FILE)
        if self.average is not None:
            save_tensors(self.average.running_weights(), folder / RUNNING_WEIGHTS_FILE)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save weights, of adapters without what is below them."""
        if self.args.should_save:
            model = self.accelerator.unwrap_model(self.model)
            if state_dict is None and has_adapters(model):
                state_dict = without_frozen(model)
            model.save_pretrained(output_dir, state_dict=state_dict)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse a checkpoint that does not set every weight, such as one of an earlier version.

        Raises:
            RunError: A weight is missing or unknown.
        """
        model = self.accelerator.unwrap_model(self.model)
        kept = without_frozen(model) if has_adapters(model) else load_result.missing_keys
        if load_result.unexpected_keys or set(load_result.missing_keys) & set(kept):
            raise RunError(
                f"The checkpoints in {self.args.output_dir} do not fit the model, perhaps because "
                "an earlier version wrote them: start again with --overwrite, or resume with that "
                "version."
            )

    def _init_training_state(self, *arguments: Any) -> tuple[int, int]:
        """Return the completed epochs and steps; all epochs if early stopping has ended the run.

        The best checkpoint is also found if the run folder was moved.
        """
        epochs, steps = super()._init_training_state(*arguments)
        best = Path(self.args.output_dir) / f"checkpoint-{self.state.best_global_step}"
        if best.is_dir():
            self.state.best_model_checkpoint = str(best)
        if self.control.should_training_stop:
            return int(self.args.num_train_epochs), 0
        return epochs, steps

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        self.objective.load_state_dict(load_file(folder / OBJECTIVE_FILE))
        if self.average is not None:
            self.average.restore(load_file(folder / RUNNING_WEIGHTS_FILE))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Restore the random state of this process, or seed it if the number of them changed."""
        several = self.args.world_size > 1
        name = f"rng_state_{self.args.process_index}.pth" if several else "rng_state.pth"
        if checkpoint is not None and not (Path(checkpoint) / name).is_file():
            seed_rank(self.args.seed, self.state.global_step, self.args.process_index)
        super()._load_rng_state(checkpoint)

    def epochs(self) -> dict[str, int]:
        """Return the number of epochs ``trained``, and the number of the ``best`` one, from 1."""
        per_epoch = self.state.max_steps / self.args.num_train_epochs
        steps = {"trained": self.state.global_step, "best": self.state.best_global_step or 0}
        return {name: round(count / per_epoch) for name, count in steps.items()}

    def _headline_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        logits = torch.from_numpy(prediction.predictions)
        labels, *_ = prediction.label_ids
        evaluation = evaluate_predictions(probabilities(logits).numpy(), labels, self.class_names)
        return {name: getattr(evaluation, name) for name in HEADLINE_METRICS}
