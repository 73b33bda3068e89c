"""One training epoch on posts whose image features are there already.

Work, the same for both sides: generated posts of text and image. Their texts are lengthened with
words that carry no polarity, until the word pieces are distributed about as in MVSA-Single (mean
31, standard deviation 13, at most 64, both ends' special tokens included); images are read as
features, 49 tokens of 1280, computed before. Of one epoch, all steps but the first few are timed:
batches, forward, backward, optimizer, and the queue of 3600, which is full, with its constraint
on. The time of a post is multiplied by `EPOCH_POSTS`. No evaluation and no
checkpoint is in it, nor what happens once in a run: reading weights, tokens, running the frozen
text layers, filling the queue.

Ours is the recipe single through `build_trainer`, in a process with the allocator setting of the
command line. The recipe trains the upper two of six text layers, and has a unimodal-label head.
The reference is the plain script of `scripts.speed.plain_training`, which trains all parameters.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, set_seed

from mvcn.cli.process import set_up_process
from mvcn.config import RunConfig, read_recipe
from mvcn.data.datasets import read_corpus
from mvcn.data.synthetic import GeneratedPost, generate_posts, write_table
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.images import ImageFeatures
from mvcn.inputs.processor import MvcnProcessor, build_processor
from mvcn.inputs.texts import frozen_texts
from mvcn.models.build import build_model
from mvcn.models.classification import MvcnForClassification
from mvcn.training.fit import build_trainer
from mvcn.types import Corpus
from scripts.speed import plain_training
from scripts.speed.comparison import matrix_rate

EPOCH_POSTS = 3611
"""Training posts of MVSA-Single."""
WARM_UP_SHARE = 1 / 15
"""Of the steps; they are not timed."""
DEV_POSTS = 16
MEAN_TOKENS, DEVIATION_TOKENS = 30.7, 12.6
MIN_TOKENS, MAX_TOKENS = 12, 64
FILLER_TEXT = (
    "and then we went there with some of them for the whole day because it had been a long week "
    "before that one so everybody who could come along did and took pictures https co via"
)


def prepare(folder: Path, count: int) -> None:
    """Write the posts and compute their image features."""
    _, processor = _model_and_processor(read_recipe("single"), ("positive",))
    write_table(lengthened(generate_posts(count, seed=0), processor), folder)
    _read(folder, read_recipe("single"))


def lengthened(generated: Sequence[GeneratedPost], processor: MvcnProcessor) -> list[GeneratedPost]:
    """Return the posts with texts as long as those of MVSA-Single."""
    texts = lengthened_texts([one.post.text for one in generated], processor)
    return [
        replace(one, post=replace(one.post, text=text))
        for one, text in zip(generated, texts, strict=True)
    ]


def lengthened_texts(texts: Sequence[str], processor: MvcnProcessor) -> list[str]:
    """Append words to each text until it has as many word pieces as a draw for it says."""
    random = np.random.default_rng(0)
    lengths = random.normal(MEAN_TOKENS, DEVIATION_TOKENS, len(texts)).clip(MIN_TOKENS, MAX_TOKENS)
    words = FILLER_TEXT.split()
    longer = []
    for text, length in zip(texts, lengths.astype(int), strict=True):
        missing = max(0, int(length) - len(processor.tokenize([text])[0]))
        longer.append(" ".join([text, *random.choice(words, missing)]))
    return longer


def ours(folder: Path) -> float:
    """Return the seconds of an epoch through our Trainer."""
    posts = read_corpus("table", folder / "posts.csv").posts
    clock = EpochClock(warm_up_steps(len(posts)))
    train(folder, clock)
    return _per_epoch(clock.seconds, len(posts))


def train(folder: Path, callback: TrainerCallback) -> None:
    """Train one epoch on the posts of the folder."""
    set_up_process()
    config = read_recipe("single")
    config.update({"training": {"epochs": 1}})
    set_seed(config.training.seed)
    corpus, model, processor, images = _read(folder, config)
    encoder = PostEncoder(processor, images)
    encoded = {
        name: encoder.encode(posts, class_names=model.class_names)
        for name, posts in (("train", corpus.posts), ("dev", corpus.posts[:DEV_POSTS]))
    }
    with TemporaryDirectory(dir=folder) as output:
        encoder.texts = frozen_texts(model, processor, encoded["train"].token_ids)
        trainer = build_trainer(config, Path(output), model, encoded)
        trainer.add_callback(callback)
        fill_queue(trainer.objective)
        trainer.train()


def reference(folder: Path) -> float:
    """Return the seconds of an epoch of the plain script."""
    config = read_recipe("single")
    corpus, model, processor, images = _read(folder, config)
    token_ids = processor.tokenize([post.text for post in corpus.posts])
    rows = [
        (
            torch.tensor(ids),
            torch.tensor(images[post.image]).float(),
            model.config.label2id[post.label],
        )
        for ids, post in zip(token_ids, corpus.posts, strict=True)
    ]
    seconds = plain_training.time_epoch(rows, warm_up_steps(len(rows)))
    return _per_epoch(seconds, len(rows))


def warm_up_steps(posts: int) -> int:
    """Return how many of an epoch's steps are not timed."""
    return int(posts / plain_training.BATCH_SIZE * WARM_UP_SHARE)


def limit(folder: Path, rate: float) -> float:
    """Return the seconds of an epoch if it were the matrix products of real tokens at `rate`."""
    config = read_recipe("single")
    corpus, model, processor, images = _read(folder, config)
    patches = images[corpus.posts[0].image].shape[0]
    token_ids = processor.tokenize([post.text for post in corpus.posts])
    flops = sum(training_flops(model, len(ids), patches) for ids in token_ids)
    return flops / rate * EPOCH_POSTS / len(token_ids)


def measured_limit(folder: Path) -> float:
    """Return `limit` at the rate of matrix products that this machine reaches now."""
    return limit(folder, matrix_rate())


def training_flops(model: MvcnForClassification, tokens: int, patches: int) -> int:
    """Return the floating point operations of one post, forward and backward.

    A product forward costs two products backward: for its input and for its weights. The projection
    of fixed image features has one of them. Frozen layers are not run in an epoch.
    """
    text, config = model.config.text_config, model.config
    width, dim, inner = text.hidden_size, config.hidden_size, config.feedforward_size
    layer = tokens * (4 * width**2 + 2 * width * text.intermediate_size) + 2 * tokens**2 * width
    trained_layers = text.num_hidden_layers - config.frozen_text_layers
    unit = tokens * (6 * dim**2 + 2 * dim * inner) + 2 * patches * dim**2
    unit += 2 * (tokens + patches) * tokens * dim
    trained = trained_layers * layer + config.num_fusion_layers * unit
    trained += tokens * (width * dim + dim**2)
    image_projection = patches * config.image_config.hidden_size * dim
    return 2 * (3 * trained + 2 * image_projection)


class EpochClock(TrainerCallback):
    """Measures from the end of the warm-up to the end of the epoch, before its evaluation."""

    def __init__(self, warm_up_steps: int) -> None:
        self.warm_up_steps = warm_up_steps
        self.started = 0.0
        self.seconds = 0.0

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start, if there is no warm-up."""
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start anew after the warm-up."""
        if state.global_step == self.warm_up_steps:
            self.started = time.perf_counter()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self.started


def _per_epoch(seconds: float, posts: int) -> float:
    timed = posts - warm_up_steps(posts) * plain_training.BATCH_SIZE
    return seconds / timed * EPOCH_POSTS


def _read(
    folder: Path, config: RunConfig
) -> tuple[Corpus, MvcnForClassification, MvcnProcessor, ImageFeatures]:
    """Return the posts, a new model, its processor, and the features of the posts' images."""
    corpus = read_corpus("table", folder / "posts.csv")
    model, processor = _model_and_processor(config, corpus.class_names)
    images = ImageFeatures(model, processor, folder / "cache")
    images.encode(corpus.posts)
    return corpus, model, processor, images


def _model_and_processor(
    config: RunConfig, class_names: tuple[str, ...]
) -> tuple[MvcnForClassification, MvcnProcessor]:
    model = build_model(config.model, class_names, unimodal_label_head=True)
    return model, build_processor(config.model)


def fill_queue(objective: Any) -> None:
    """Put random features into the queue, if there is one, and switch the constraint on."""
    queue = objective.queue
    if queue is None:
        return
    labels = torch.arange(queue.size) % queue.num_classes
    queue.enqueue(torch.randn(queue.size, queue.features.shape[1]), labels)
    objective.activate()
