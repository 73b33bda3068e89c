"""Attention weights from scores, and the gradient of the scores.

Work, the same for all sides: scores drawn from a standard normal distribution, of 16 posts of 64
word pieces, in the shapes of the two published pairs of encoders: 12 heads over the 197 patches of
ViT-B/16, and 6 heads over the 49 of EfficientNet-Lite0. All run in a process with the allocator
setting of the command line. Ours is `mvcn.nn.sparsemax`; it is compared with `torch.softmax` and
with sparsemax of the entmax package. Compiling is not timed.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import entmax
import torch
from torch import Tensor

from mvcn.cli.process import set_up_process
from mvcn.nn import sparsemax

SHAPES = {197: (16, 12, 64, 197), 49: (16, 6, 64, 49)}
"""Patches -> posts, heads, word pieces, patches."""
COUNT_FILE = "count.txt"
MILLISECONDS = 1e3

Weigh = Callable[[Tensor], Tensor]


def prepare(folder: Path, count: int) -> None:
    """Write how often the weights are computed."""
    (folder / COUNT_FILE).write_text(str(count), "utf-8")


def ours(folder: Path, patches: int) -> float:
    """Return milliseconds forward and backward of our sparsemax."""
    return _milliseconds(folder, patches, sparsemax)


def softmax(folder: Path, patches: int) -> float:
    """Return milliseconds of torch's softmax."""
    return _milliseconds(folder, patches, partial(torch.softmax, dim=-1))


def other_sparsemax(folder: Path, patches: int) -> float:
    """Return milliseconds of the entmax package's sparsemax."""
    return _milliseconds(folder, patches, partial(entmax.sparsemax, dim=-1))


def _milliseconds(folder: Path, patches: int, weigh: Weigh) -> float:
    """Return the fastest pass: other work on the machine makes passes slower and none faster."""
    set_up_process()
    count = int((folder / COUNT_FILE).read_text("utf-8"))
    torch.manual_seed(0)
    scores, gradient = torch.randn(2, *SHAPES[patches])
    scores.requires_grad_()
    seconds = [_one_pass(weigh, scores, gradient) for _ in range(1 + count)]
    return MILLISECONDS * min(seconds[1:])


def _one_pass(weigh: Weigh, scores: Tensor, gradient: Tensor) -> float:
    started = time.perf_counter()
    torch.autograd.grad(weigh(scores), scores, gradient)
    return time.perf_counter() - started
