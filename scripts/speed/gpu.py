"""What a GPU makes of training and prediction; writes results/gpu.json.

Run from the repository's root: ``python -m scripts.speed.gpu``, which takes some minutes and needs
no network. With ``--device cpu --tiny`` it is a look at whether all works. Measured are:

- whether weights and gradients of sparsemax, the losses, the gradients of all weights and the queue
  are those of the CPU, from the same weights and posts;
- a training step of the recipe paper and of the plain script, as in `scripts.speed.paper_step`, in
  float32, in bfloat16 (autocast), and compiled;
- sparsemax and softmax, forward and backward, in the shape of `scripts.speed.sparse_attention`;
- the constraint: by how much a step is shorter without it, and its own step with the queue on the
  device and in the memory of the host;
- prediction of a batch of 256 posts, from word pieces and pixels that are on the device;
- a training step that two processes share, where there are two devices.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn import functional as F
from transformers import set_seed

from mvcn.inputs.batches import PostEncoder
from mvcn.losses import Objective
from mvcn.losses.objective import split_targets
from mvcn.nn import sparsemax
from mvcn.runtime.images import ImagePixels
from scripts import results
from scripts.speed import congruity_step, paper_pair, paper_step, shared_step
from scripts.speed.comparison import in_fresh_process
from scripts.speed.sparse_attention import SHAPES
from scripts.speed.training_epoch import fill_queue

PATCHES = 197
PREDICTED = {"real": 256, "tiny": 8}
TOLERANCE = 1e-4
"""Largest difference of a number on the device from that on the CPU, relative to the largest."""
REPEATS = 10
MILLISECONDS, MICROSECONDS = 1e3, 1e6
BF16 = "training.mixed_precision=bf16"
NO_CONSTRAINT = ("objective.congruity_weight=0", "objective.calibration=0")
STEPS: dict[str, Callable[[Path, str], paper_step.Step]] = {
    "paper, fp32": partial(paper_step.ours, settings=()),
    "plain script, fp32": partial(paper_step.plain, way="both"),
    "paper, bf16": partial(paper_step.ours, settings=(BF16,)),
    "plain script, bf16": partial(paper_step.plain, way="both", precision=torch.bfloat16),
    "paper without the constraint, bf16": partial(paper_step.ours, settings=(BF16, *NO_CONSTRAINT)),
    "paper compiled, bf16": partial(paper_step.ours, settings=(BF16, "training.compile=true")),
}


def main(
    device: Annotated[str, typer.Option(help="cuda, or cpu.")] = "cuda",
    tiny: Annotated[bool, typer.Option("--tiny", help="Small encoders, few steps.")] = False,
) -> None:
    """Measure all, and write the file of results.

    Raises:
        typer.BadParameter: There is no CUDA device.
        SystemExit: Numbers on the device are not those of the CPU.
    """
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.is_available():
        raise typer.BadParameter("PyTorch finds no CUDA device: give --device cpu --tiny.")
    pair = "tiny" if tiny else "real"
    steps = 2 if tiny else REPEATS
    with TemporaryDirectory() as name:
        folder = Path(name)
        in_fresh_process(
            paper_pair.prepare, folder, pair, paper_step.BATCH * (paper_step.WARM_UP + steps)
        )
        content = {
            "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "pair": pair,
            **_measure(folder, pair, device),
        }
    results.write("gpu", content)
    if worst := {what: by for what, by in content["differences"].items() if not by <= TOLERANCE}:
        raise SystemExit(f"The device does not compute what the CPU does: {worst}.")


def _measure(folder: Path, pair: str, device: str) -> dict[str, Any]:
    steps = {}
    differences = _told("differences", in_fresh_process(differences_from_cpu, folder, pair, device))
    for name, step in STEPS.items():
        steps[name] = _told(name, in_fresh_process(step, folder, pair)._asdict())
    return {
        "differences": differences,
        "steps": steps,
        "attention_ms": _told("attention", in_fresh_process(attention, pair, device)),
        "constraint_us": _told("constraint", in_fresh_process(constraint, device)),
        "prediction": _told("prediction", in_fresh_process(prediction, folder, pair, device)),
        "shared_seconds": _told("two processes", shared_step.seconds(folder, pair, device)),
    }


def _told(what: str, found: Any) -> Any:
    typer.echo(f"{what}: {found}")
    return found


def differences_from_cpu(folder: Path, pair: str, device: str) -> dict[str, float]:
    """Return the largest difference of each kind of number, relative to the largest of its kind."""
    there, here = (computed(folder, pair, place) for place in (device, "cpu"))
    return {what: _difference(there[what], here[what]) for what in here}


def computed(folder: Path, pair: str, device: str) -> dict[str, list[Tensor]]:
    """Return all numbers of sparsemax on random scores, and of two steps without dropout."""
    torch.backends.cudnn.allow_tf32 = False  # convolutions would keep 10 bits of a number
    set_seed(0)
    scores = torch.randn(4, 2, 16, PATCHES, dtype=torch.float32).to(device).requires_grad_()
    mask = torch.arange(PATCHES, device=device) < PATCHES - 5
    weights = sparsemax(scores, mask)
    (slopes,) = torch.autograd.grad(weights, scores, scores.detach())
    losses, gradients, queue = _two_steps(folder, pair, device)
    return {
        "sparsemax": [weights.detach()],
        "gradient of sparsemax": [slopes],
        "losses": losses,
        "gradients of weights": gradients,
        "queue": queue,
    }


def _two_steps(
    folder: Path, pair: str, device: str
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return losses, gradients and the state of the queue after two batches."""
    config = paper_pair.recipe(folder, pair)
    set_seed(0)
    corpus, model, processor = paper_pair.read(folder, config)
    posts = PostEncoder(processor, ImagePixels(processor, keep=True)).encode(
        corpus.posts[: 2 * paper_step.BATCH], class_names=model.class_names
    )
    objective = Objective(config.objective, model.class_names, model.network.feature_size)
    fill_queue(objective)
    model, objective = model.eval().to(device), objective.train().to(device)
    losses: list[Tensor] = []
    for start in (0, paper_step.BATCH):
        rows = [posts[place] for place in range(start, start + paper_step.BATCH)]
        batch = {name: tensor.to(device) for name, tensor in posts.collate(rows).items()}
        inputs, targets = split_targets(batch)
        output = model(**inputs)
        terms = objective(output, targets)
        terms["loss"].backward()
        objective.after_step(output, targets)
        losses += [term.detach() for term in terms.values()]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return losses, gradients, [tensor for tensor in objective.buffers() if tensor.numel()]


def _difference(there: Sequence[Tensor], here: Sequence[Tensor]) -> float:
    """Return the largest difference over the largest number."""
    largest = max(float(tensor.double().abs().max()) for tensor in here)
    apart = [
        float((one.cpu().double() - other.double()).abs().max())
        for one, other in zip(there, here, strict=True)
    ]
    return max(apart) / largest


def attention(pair: str, device: str) -> dict[str, float]:
    """Return milliseconds forward and backward of sparsemax and softmax."""
    shape = SHAPES[PATCHES] if pair == "real" else (2, 2, 4, PATCHES)
    scores, gradient = torch.randn(2, *shape, device=device)
    scores.requires_grad_()
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "sparsemax": sparsemax,
        "softmax": partial(F.softmax, dim=-1),
    }
    return {
        name: MILLISECONDS
        * _median_seconds(lambda way=way: torch.autograd.grad(way(scores), scores, gradient))
        for name, way in ways.items()
    }


def constraint(device: str) -> dict[str, float]:
    """Return microseconds of a step of the constraint, by where its queue is."""
    found = {}
    for place in dict.fromkeys((device, "cpu")):
        loss, step = congruity_step.constraint_step(
            congruity_step.CLASSES, congruity_step.DIM, congruity_step.SMALL
        )
        loss.to(place)
        seconds = congruity_step.seconds_of_steps(step, 2 * REPEATS, clock=_now, device=device)
        found[place] = MICROSECONDS * statistics.median(seconds[REPEATS:])
    return found


def prediction(folder: Path, pair: str, device: str) -> dict[str, float]:
    """Return posts a second of the model, by its precision."""
    corpus, model, processor = paper_pair.read(folder, paper_pair.recipe(folder, pair))
    images = ImagePixels(processor, keep=True)
    posts = PostEncoder(processor, images).encode(corpus.posts)
    count = PREDICTED[pair]
    inputs = posts.inputs([place % len(posts) for place in range(count)])
    on_device = {name: tensor.to(device) for name, tensor in inputs.items()}
    model.eval().to(device)
    found = {}
    for name, precision in {"fp32": None, "bf16": torch.bfloat16}.items():
        autocast = nullcontext() if precision is None else torch.autocast(device, precision)
        with torch.no_grad(), autocast:
            found[name] = count / _median_seconds(lambda: model(**on_device))
    return found


def _median_seconds(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = _now()
        work()
        seconds.append(_now() - started)
    return statistics.median(seconds[1:])


def _now() -> float:
    """Return the time once the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    typer.run(main)
