"""A training step of the recipe paper at its real size; writes results/paper-step.json.

Run from the repository's root: ``python -m scripts.speed.paper_step``. Work, the same for both
sides: 16 posts a step through BERT-base, ViT-B/16 (see `scripts.speed.paper_pair`) and the fusion,
with the queue of 3600, which is full, and its constraint on. Ours is `build_trainer`; the reference
is the plain script of `scripts.speed.plain_training` around the same encoders, all in float32. The
time is the median of the steps after the first; the memory is the largest of them, without that of
mapped files. Sides take turns, each time in a process of their own, and the fastest round counts.

Both keep pixels in memory. Where the image encoder is frozen, ours reads its features from the
cache, in which they were put before, and the plain script runs it without gradients in each step.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import torch
import typer
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoModel, TrainerCallback, set_seed

from mvcn.cli.process import set_up_process
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.images import ImageFeatures
from mvcn.runtime.images import ImagePixels
from mvcn.training.fit import build_trainer
from scripts import results
from scripts.speed import paper_pair, plain_training
from scripts.speed.comparison import in_fresh_process
from scripts.speed.memory import ANONYMOUS, MEGABYTE, MemoryWatch
from scripts.speed.paper_pair import IMAGE, PAIRS, TEXT
from scripts.speed.training_epoch import fill_queue

BATCH = 16
WARM_UP = 1
RANK = 8
ONE_EPOCH = ("training.epochs=1", "objective.prefill=none")


class Way(NamedTuple):
    """One way to train the pair of encoders."""

    settings: tuple[str, ...]
    """Of ours."""
    plain: str
    """What the plain script does: see `_plain_model`."""


WAYS = {
    "both encoders": Way((), "both"),
    "both, gradient checkpointing": Way(("training.gradient_checkpointing=true",), "checkpointing"),
    f"both by adapters of rank {RANK}": Way(
        (f"model.text_adapter.rank={RANK}", f"model.image_adapter.rank={RANK}"), "adapters"
    ),
    "image encoder frozen": Way(("model.freeze_image_encoder=true",), "frozen"),
}


class Step(NamedTuple):
    """What a training step costs."""

    seconds: float
    megabytes: float


class StepMeter(TrainerCallback):
    """Measures the steps after a warm-up: their median time, and their largest memory.

    On a GPU the memory is what PyTorch has allocated there, else this process's own.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._ended: list[float] = []
        self._watch = MemoryWatch()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch memory within the block."""
        with self._watch.running():
            yield

    def end_step(self) -> None:
        """Take the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._ended.append(time.perf_counter())
        if len(self._ended) == WARM_UP:
            self._watch.begin("steps")
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the time."""
        self.end_step()

    def step(self) -> Step:
        """Return what a step cost."""
        ended = self._ended[WARM_UP - 1 :]
        seconds = [after - before for before, after in pairwise(ended)]
        return Step(statistics.median(seconds), self._megabytes())

    def _megabytes(self) -> float:
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / MEGABYTE
        return self._watch.phases["steps"][ANONYMOUS]


def main(
    pair: Annotated[str, typer.Option(help="Encoders: real or tiny.")] = "real",
    steps: Annotated[int, typer.Option(help="Timed steps of each side and round.")] = 3,
    rounds: Annotated[int, typer.Option(help="How often each side runs.")] = 2,
) -> None:
    """Measure all ways, and write the file of results."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        in_fresh_process(paper_pair.prepare, folder, pair, BATCH * (WARM_UP + steps))
        ways = {name: _compare(folder, pair, way, rounds, name) for name, way in WAYS.items()}
    results.write("paper-step", {"pair": pair, "batch": BATCH, "steps": steps, "ways": ways})


def _compare(folder: Path, pair: str, way: Way, rounds: int, name: str) -> dict[str, Any]:
    """Let both sides take turns; return time and memory of the fastest round of each."""
    found: dict[str, list[Step]] = {"ours": [], "plain": []}
    for _ in range(rounds):
        found["ours"].append(in_fresh_process(ours, folder, pair, way.settings))
        found["plain"].append(in_fresh_process(plain, folder, pair, way.plain))
        for side, steps in found.items():
            typer.echo(f"{name}, {side}: {steps[-1].seconds:.2f} s, {steps[-1].megabytes:,.0f} MB")
    best = {side: min(steps)._asdict() for side, steps in found.items()}
    ratio = best["plain"]["seconds"] / best["ours"]["seconds"]
    return {**best, "times_faster": ratio}


def ours(folder: Path, pair: str, settings: Sequence[str]) -> Step:
    """Return what a step costs by our Trainer, with further settings."""
    set_up_process(shares_work=True)
    config = paper_pair.recipe(folder, pair, (*ONE_EPOCH, *settings))
    set_seed(config.training.seed)
    corpus, model, processor = paper_pair.read(folder, config)
    images = (
        ImageFeatures(model, processor, folder / "cache")
        if model.image_encoder_is_frozen
        else ImagePixels(processor, keep=True)
    )
    encoder = PostEncoder(processor, images)
    encoded = {"train": encoder.encode(corpus.posts, class_names=model.class_names)}
    meter = StepMeter()
    with TemporaryDirectory(dir=folder) as output, meter.running():
        trainer = build_trainer(
            config, Path(output), model, encoded, callbacks=[meter], selects_epoch=False
        )
        fill_queue(trainer.objective)
        trainer.train()
    return meter.step()


def plain(folder: Path, pair: str, way: str, precision: torch.dtype | None = None) -> Step:
    """Return what a step of the plain script costs.

    Args:
        folder: What `paper_pair.prepare` wrote.
        pair: Size of the encoders.
        way: As for `Way.plain`.
        precision: Of autocast; None for float32.
    """
    set_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _plain_model(folder, pair, way).train().to(device)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=plain_training.LEARNING_RATE
    )
    sizes, meter = PAIRS[pair], StepMeter()
    queue = tuple(
        tensor.to(device)
        for tensor in plain_training.random_queue(sizes.queue_size, sizes.hidden_size)
    )
    loader: Any = DataLoader(
        plain_rows(folder, pair), BATCH, shuffle=True, collate_fn=plain_training.collate
    )
    autocast = nullcontext() if precision is None else torch.autocast(device, precision)
    with meter.running():
        for batch in loader:
            on_device = tuple(tensor.to(device) for tensor in batch)
            with autocast:
                queue = plain_training.train_step(model, optimizer, on_device, queue)
            meter.end_step()
    return meter.step()


def plain_rows(folder: Path, pair: str) -> list[plain_training.Row]:
    """Return word pieces, pixels and class of each post."""
    corpus, model, processor = paper_pair.read(folder, paper_pair.recipe(folder, pair))
    token_ids = processor.tokenize([post.text for post in corpus.posts])
    return [
        (
            torch.tensor(ids),
            torch.tensor(processor.read_image(post.image, None)),
            model.config.label2id[post.label],
        )
        for ids, post in zip(token_ids, corpus.posts, strict=True)
    ]


class Frozen(nn.Module):
    """An encoder that is run without gradients."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)

    @torch.no_grad()
    def forward(self, pixel_values: Tensor) -> Any:
        """Return what the encoder does."""
        return self.encoder(pixel_values=pixel_values)


def _plain_model(folder: Path, pair: str, way: str) -> nn.Module:
    """Return the plain classifier around both encoders.

    Args:
        folder: What `paper_pair.prepare` wrote.
        pair: Size of the encoders.
        way: ``both`` are trained, with ``checkpointing``, or by ``adapters``, or that of images is
            ``frozen``.
    """
    sizes = PAIRS[pair]
    text, image = (AutoModel.from_pretrained(folder / part) for part in (TEXT, IMAGE))
    if way == "checkpointing":
        for encoder in (text, image):
            encoder.activation_checkpointing_enable()
    if way == "adapters":
        text, image = (_with_adapters(encoder) for encoder in (text, image))
    return plain_training.PlainClassifier(
        text,
        Frozen(image) if way == "frozen" else image,
        sizes.hidden_size,
        sizes.hidden_size,
        sizes.num_heads,
        sizes.feedforward_size,
    )


def _with_adapters(encoder: Any) -> Any:
    layers = [name for name, layer in encoder.named_modules() if isinstance(layer, nn.Linear)]
    return inject_adapter_in_model(
        LoraConfig(r=RANK, lora_alpha=16, target_modules=layers), encoder.requires_grad_(False)
    )


if __name__ == "__main__":
    typer.run(main)
