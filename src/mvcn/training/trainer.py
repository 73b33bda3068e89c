"""The Hugging Face Trainer, with the objective in place of a loss inside the model."""

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import EvalPrediction, Trainer
from transformers.trainer_utils import rotate_checkpoints

from mvcn.errors import ConfigError, MvcnError, RunError
from mvcn.evaluation import (
    Calibration,
    Evaluation,
    calibrate,
    evaluate_groups,
    evaluate_predictions,
)
from mvcn.inputs.batches import TARGET_FIELDS, EncodedPosts, LengthBuckets
from mvcn.losses.objective import Objective, Targets
from mvcn.models.network import probabilities
from mvcn.models.saved_tensors import save_tensors
from mvcn.training.averaging import WeightAverage
from mvcn.training.checkpoints import advice_after_failed_write, mark_complete, writing
from mvcn.training.loss_parts import LossParts
from mvcn.training.processes import OwnShares, ShareCollator, seed_own_draws

OBJECTIVE_FILE = "objective.safetensors"
RUNNING_WEIGHTS_FILE = "running.safetensors"
KEPT_CHECKPOINTS = 2
HEADLINE_METRICS = ("accuracy", "f1_weighted", "f1_macro", "expected_calibration_error")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a model says of labelled posts, and how good that is."""

    probabilities: Float[np.ndarray, "batch classes"]
    """At the temperature of `calibration`, as the saved model gives them."""
    calibration: Calibration
    """Fitted on these posts."""
    evaluation: Evaluation
    by_modality: Mapping[str, Evaluation]
    """What posts have (as in `MODALITIES`) -> their scores; empty where all have the same."""


def split_targets(batch: Mapping[str, Any]) -> tuple[dict[str, Any], Targets]:
    """Return what a batch holds for the model, and what for the objective."""
    targets = Targets(**{name: batch[name] for name in TARGET_FIELDS if name in batch})
    return {key: value for key, value in batch.items() if key not in TARGET_FIELDS}, targets


class MvcnTrainer(Trainer):
    """Trains any classifier by an `Objective`, and keeps its state with each checkpoint.

    What differs from the Trainer: the loss comes from outside the model and its parts are logged
    by name, the queue takes each micro-batch once after its backward pass, encoders have a
    learning rate of their own, the order of posts is a function of seed and epoch, and averaged
    weights, where there are any, are what is judged and saved. Several processes share each batch,
    so that what they do is what one of them would do alone; a checkpoint counts once it is whole.
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
                    "FSDP splits the weights: set training.weight_average_decay to 0."
                )
            self.add_callback(average)
        self._step: tuple[Any, Targets] | None = None
        self._parts = LossParts()

    def train(self, *arguments: Any, **options: Any) -> Any:
        """Train, all processes but the first with random numbers of their own."""
        if self.args.process_index > 0:
            seed_own_draws(self.args.seed, 0, self.args.process_index)
        return super().train(*arguments, **options)

    def judge(self, posts: EncodedPosts) -> Judgement:
        """Evaluate the model as it is now, in the precision of its weights; fit its temperature."""
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        prediction = self.predict(posts)
        logits = torch.from_numpy(prediction.predictions)
        calibration = calibrate(logits.double().numpy(), posts.labels)
        rows = probabilities(logits, calibration.temperature).numpy()
        return Judgement(
            rows,
            calibration,
            evaluate_predictions(rows, posts.labels, self.class_names),
            evaluate_groups(rows, posts.labels, posts.modalities, self.class_names),
        )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the objective's loss of a batch, averaged over its posts."""
        inputs, targets = split_targets(inputs)
        if not model.training:
            targets = self._without_repeats(targets)
        output = model(**inputs)
        parts = self.objective.train(model.training)(output, targets)
        if model.training:
            self._step = output, targets
            self._parts.add(parts)
        return (parts["loss"], output) if return_outputs else parts["loss"]

    def _without_repeats(self, targets: Targets) -> Targets:
        """Count out the posts by which several processes fill up the end of an evaluation."""
        loader, size = self.accelerator.gradient_state, len(targets.labels)
        is_filled_up = loader.end_of_dataloader and loader.remainder > 0
        if self.args.world_size == 1 or not is_filled_up:
            return targets
        place = self.args.process_index * size + torch.arange(size, device=targets.labels.device)
        return targets._replace(valid_mask=place < loader.remainder)

    def training_step(self, *arguments: Any, **options: Any) -> Tensor:
        """Run one micro-batch, then let the queue take it.

        Raises:
            MvcnError: The loss is not finite.
        """
        loss: Tensor = super().training_step(*arguments, **options)
        if not torch.isfinite(loss):
            raise MvcnError(
                f"The loss is not finite at step {self.state.global_step}: "
                "lower training.encoder_learning_rate and training.fusion_learning_rate."
            )
        assert self._step is not None  # compute_loss has set it
        self.objective.after_step(*self._step)
        self._step = None
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean of each loss part since the last log."""
        if "loss" in logs:
            means = self._parts.pop_means()
            logs |= {name: value for name, value in means.items() if name != "loss"}
        super().log(logs, start_time)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Give encoders their own learning rate, and biases and norms no weight decay."""
        if self.optimizer is None:
            self.optimizer: Any = torch.optim.AdamW(self._parameter_groups(), fused=True)
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: the Trainer's estimate walks the model at each step, and nothing reads it."""
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
        """Return the batches, or this process's shares of them."""
        if self.args.world_size == 1:
            loader: DataLoader[Any] = super().get_train_dataloader()
            return loader
        posts: EncodedPosts = self.train_dataset
        rank, processes = self.args.process_index, self.args.world_size
        return DataLoader(
            posts,
            batch_sampler=OwnShares(self._get_train_sampler(), self.batch_size, rank, processes),
            collate_fn=ShareCollator(self.data_collator, posts[0]),
        )

    def _maybe_log_save_evaluate(self, *arguments: Any, **options: Any) -> None:
        is_due = self.control.should_evaluate or self.control.should_save
        with self.average.applied() if self.average and is_due else nullcontext():
            super()._maybe_log_save_evaluate(*arguments, **options)

    def whole_weights(self) -> dict[str, Tensor] | None:
        """Return the weights that devices have split among them; None where each has all.

        All processes must call it.
        """
        if not self.is_fsdp_enabled:
            return None
        weights: dict[str, Tensor] = self.accelerator.get_state_dict(self.model)
        return weights

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint to its end, and only then delete an older one.

        Raises:
            RunError: It could not be written; what was is gone, and older ones are as they were.
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
        """Clear what an earlier attempt at this checkpoint may have left, before anyone writes."""
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
        """Name the weights as the model does: the Trainer's own loading knows no other names."""
        if self.args.should_save:
            model = self.accelerator.unwrap_model(self.model)
            model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse a checkpoint that does not set every weight.

        Raises:
            RunError: A weight is missing or unknown.
        """
        if load_result.missing_keys or load_result.unexpected_keys:
            raise RunError(
                f"The checkpoints in {self.args.output_dir} do not fit the model: start the run "
                "again by --overwrite."
            )

    def _init_training_state(self, *arguments: Any) -> tuple[int, int]:
        """Return the epochs and steps done, with all epochs done where early stopping had struck.

        Beyond what the Trainer restores, the best checkpoint is found in a folder that was moved.
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
        """Go on with this process's own draws, or with new ones after a change of processes."""
        several = self.args.world_size > 1
        name = f"rng_state_{self.args.process_index}.pth" if several else "rng_state.pth"
        if checkpoint is not None and not (Path(checkpoint) / name).is_file():
            seed_own_draws(self.args.seed, self.state.global_step, self.args.process_index)
        super()._load_rng_state(checkpoint)

    def _headline_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        evaluation = self._evaluation(prediction)
        return {name: getattr(evaluation, name) for name in HEADLINE_METRICS}

    def _evaluation(self, prediction: EvalPrediction) -> Evaluation:
        logits = torch.from_numpy(prediction.predictions)
        labels, *_ = prediction.label_ids
        return evaluate_predictions(probabilities(logits).numpy(), labels, self.class_names)
