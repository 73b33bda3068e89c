"""Train the members of an ensemble, each without one fold of the posts, which it then predicts."""

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor
from transformers import TrainerCallback, set_seed

from mvcn.config import RunConfig
from mvcn.data.images import describe_images_of
from mvcn.data.near_duplicates import duplicate_groups
from mvcn.errors import ConfigError, DataError, count_of
from mvcn.files import atomic_replace, save_tensors
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.training.at_once import fit_at_once, num_at_once
from mvcn.training.checkpoints import CHECKPOINTS, advice_after_failed_write, writing
from mvcn.training.fit import MEMBERS_FOLDER, fit
from mvcn.training.trainer import MvcnTrainer

LOG = logging.getLogger(__name__)
WEIGHT, LOGITS, LOG_KEY = "weight.", "logits", "log"
MIN_MEMBERS = 2
T = TypeVar("T")

Build = Callable[[EncodedPosts], MvcnForClassification]
"""Returns a new model for training posts; torch's generator draws its weights."""


@dataclass(frozen=True, slots=True)
class Member:
    """One trained member."""

    weights: dict[str, Tensor]
    """See `MvcnForClassification.trained_weights`."""
    logits: Float[np.ndarray, "left_out classes"]
    """For the posts of its fold, which it was not trained on."""
    log: Sequence[dict[str, Any]]
    """Log of its Trainer."""


@dataclass(frozen=True, slots=True)
class Members:
    """All members, and what each says of the posts that it has not seen."""

    members: Sequence[Member]
    logits: Float[np.ndarray, "batch classes"]
    """Out-of-fold logits of all posts."""

    @property
    def log(self) -> list[dict[str, Any]]:
        """The logs of all Trainers, with the number of each member from 1."""
        return [
            {"member": number, **entry}
            for number, member in enumerate(self.members, 1)
            for entry in member.log
        ]


def assign_folds(posts: EncodedPosts, members: int, seed: int) -> Int[np.ndarray, " batch"]:
    """Return the fold of each post, from 0: classes in equal shares, near-duplicates together.

    Near-duplicates are those of text or image, but not a text of more posts than a fold has, if
    they have images, nor such an image. There are fewer folds where every class has fewer posts
    than there are members, or there are fewer different posts.

    Args:
        posts: Labelled posts.
        members: Number of folds.
        seed: Of the assignment.

    Raises:
        DataError: No class has two posts, or all are near-duplicates.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    texts = [post.text for post in posts.posts]
    facts = describe_images_of(posts.posts, warn=False)  # they were read for the features
    labels, groups = posts.labels, duplicate_groups(texts, facts, most=len(texts) // members)
    members = min(members, int(np.bincount(labels).max()), len(set(groups)))
    if members < MIN_MEMBERS:
        raise DataError(
            f"The {len(posts)} training posts are too few or too alike to train several members: "
            "add more, or use --set training.members=1."
        )
    if alike := len(posts) - len(set(groups)):
        LOG.info(
            "%s to an earlier one in text or image; near-duplicates stay in one fold.",
            count_of(alike, "post is nearly equal", "posts are nearly equal"),
        )
    folds = np.zeros(len(posts), dtype=np.int64)
    splitter = StratifiedGroupKFold(members, shuffle=True, random_state=seed)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of rare classes
        for number, (_, left_out) in enumerate(splitter.split(folds, labels, groups)):
            folds[left_out] = number
    return np.unique(folds, return_inverse=True)[1]  # large groups may leave a fold empty


def cross_validation_folds(posts: EncodedPosts, folds: int, seed: int) -> Int[np.ndarray, " batch"]:
    """Return what `assign_folds` does, or one fold where posts are too few or too alike."""
    try:
        return assign_folds(posts, folds, seed)
    except DataError:
        return np.zeros(len(posts), np.int64)


def fit_members(
    config: RunConfig,
    folder: Path,
    build: Build,
    posts: EncodedPosts,
    folds: Int[np.ndarray, " batch"],
    *,
    beside: Callable[[], T],
    resume: bool,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[Members, T]:
    """Train all members that are not finished yet, at the same time where that is faster.

    Args:
        config: All settings; each member derives a seed from that of the training.
        folder: Run folder.
        build: Makes a new model.
        posts: Training posts.
        folds: Fold of each post, as `assign_folds` returns it.
        beside: What else is computed, and returned: on a core that has no member left to train.
        resume: Continue where an interrupted training has stopped.
        callbacks: Further callbacks of the Trainer, for which members are trained in this process.
    """
    count = int(folds.max()) + 1
    places = [folder / MEMBERS_FOLDER / f"member-{number + 1}" for number in range(count)]

    def fit_one(number: int, *callbacks: TrainerCallback) -> None:
        learned, left_out = (np.flatnonzero(folds != number), np.flatnonzero(folds == number))
        _fit_member(
            _with_seed(config, number),
            places[number],
            build,
            posts.select(learned.tolist()),
            posts.select(left_out.tolist()),
            resume=resume,
            callbacks=callbacks,
        )

    if isinstance(config.training.members, int) and count < config.training.members:
        LOG.warning(
            "%d members are trained instead of %d, because every class has fewer posts or too "
            "many posts are alike.",
            *(count, config.training.members),
        )
    pending = [number for number in range(count) if not _file(places[number]).is_file()]
    at_once = 1 if callbacks else min(count, num_at_once(config.model))
    if pending and at_once > 1:
        sizes = [int((folds != number).sum()) for number in pending]
        steps = sum(config.training.num_steps(size) for size in sizes)
        result = fit_at_once(fit_one, pending, beside, at_once, steps)
    else:
        for number in pending:
            LOG.info("Member %d of %d", number + 1, count)
            fit_one(number, *callbacks)
        result = beside()
    found = [_read(place) for place in places]
    logits = np.empty((len(posts), found[0].logits.shape[1]))
    for number, member in enumerate(found):
        logits[folds == number] = member.logits
    return Members(found, logits), result


def drop_members(folder: Path) -> None:
    """Delete the files of members from a run folder that holds the ensemble of them."""
    shutil.rmtree(folder / MEMBERS_FOLDER, ignore_errors=True)


def _fit_member(
    config: RunConfig,
    place: Path,
    build: Build,
    learned: EncodedPosts,
    left_out: EncodedPosts,
    *,
    resume: bool,
    callbacks: Sequence[TrainerCallback],
) -> None:
    """Train a member, and write it into one file."""
    (place / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    set_seed(config.training.seed)
    trainer = fit(
        config,
        place,
        build(learned),
        {"train": learned},
        resume=resume,
        callbacks=callbacks,
        selects_epoch=False,
    )
    if trainer.is_fsdp_enabled:
        raise ConfigError(
            "Several members cannot be trained with FSDP, which shards the weights: use "
            "--set training.members=1."
        )
    if trainer.average is not None:
        trainer.average.apply()
    logits = trainer.logits(left_out)
    if trainer.is_world_process_zero():
        _write(place, trainer, logits)
        shutil.rmtree(place / CHECKPOINTS)
    trainer.accelerator.wait_for_everyone()


def _with_seed(config: RunConfig, number: int) -> RunConfig:
    """Return the settings of one member, whose seed follows from that of the run."""
    seed = np.random.SeedSequence((config.training.seed, number)).generate_state(1)[0]
    own = config.model_copy()
    own.update({"training": {"seed": int(seed)}})
    return own


def _file(place: Path) -> Path:
    return place / "member.safetensors"


def _write(place: Path, trainer: MvcnTrainer, logits: Float[np.ndarray, "batch classes"]) -> None:
    model = trainer.accelerator.unwrap_model(trainer.model)
    weights = {f"{WEIGHT}{name}": weight for name, weight in model.trained_weights().items()}
    tensors = {**weights, LOGITS: torch.from_numpy(logits).double()}
    advice = advice_after_failed_write(place)
    with writing(_file(place), advice), atomic_replace(_file(place)) as partial:
        save_tensors(tensors, partial, metadata={LOG_KEY: json.dumps(trainer.state.log_history)})


def _read(place: Path) -> Member:
    with safe_open(_file(place), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        log = json.loads(file.metadata()[LOG_KEY])
    logits = tensors.pop(LOGITS).numpy()
    return Member({n.removeprefix(WEIGHT): one for n, one in tensors.items()}, logits, log)
