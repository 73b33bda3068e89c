"""Time and memory of a training on many posts; writes results/large.json.

Run from the repository's root: ``python -m scripts.speed.large``.

Posts are generated: a text of some twenty word pieces, and an image file of 32 x 32 pixels. The
encoders are tiny and random, so that what grows with the posts is seen without what they cost. Each
number of posts is trained for one epoch in a process of its own, on one core, whose time is counted
per phase; other work on the machine hardly changes it. Memory is anonymous, or of mapped files such
as libraries and cached features, which the system may drop and read again. Posts and encoders are
kept in the folder given by ``--work``.
"""

import csv
import json
import os
import random
import re
import resource
import shutil
import string
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import wraps
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer
from PIL import Image
from tqdm import tqdm
from transformers import BertConfig, BertModel, BertTokenizer, TrainerCallback, ViTConfig, ViTModel
from transformers.models.vit import ViTImageProcessorPil

from mvcn.config import RunConfig, read_recipe
from mvcn.data.synthetic import CUE_WORDS, FILLERS, TEMPLATES
from mvcn.training import run
from scripts import results
from scripts.speed.memory import ANONYMOUS, KIBIBYTE, MEGABYTE, MemoryWatch

LARGEST = 1_000_000
"""Posts for which time and memory are extrapolated."""
POSTS_PER_FOLDER = 1_000
SIDE_PX = 32
HALF = 0.5
BATCH_SIZE = 64
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
MODEL = {"hidden_size": 24, "feedforward_size": 32, "num_heads": 2, "frozen_text_layers": 0}
SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PHASES = {
    "mvcn.training.run.check_training": "reading",
    "mvcn.training.run._encode": "encoding",
    "mvcn.training.baselines.fit_baselines": "baselines",
    "mvcn.training.run.fit": "training",
    "mvcn.training.run._compare": "comparison",
    "mvcn.training.run._finish": "files",
}
"""Function -> phase of a training that begins with it."""
NOTE = (
    "Generated posts (texts of some 20 word pieces, images of 32 x 32 pixels), recipe default with "
    "tiny random encoders (2 layers of 32), no layer of the text encoder frozen, one epoch."
)


def main(
    fewer: Annotated[int, typer.Option(help="Posts of the first training.")] = 10_000,
    more: Annotated[int, typer.Option(help="Posts of the second training.")] = 100_000,
    work: Annotated[Path, typer.Option(help="Where posts go, some 4 kB each.")] = Path(
        "runs/large"
    ),
) -> None:
    """Generate posts, and train one epoch on fewer and on more of them."""
    generate(more, work / "posts")
    make_encoders(work)
    measured = []
    for count in (fewer, more):
        write_table(count, work / "posts")
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            measured.append(pool.submit(measure, count, work).result())
        typer.echo(json.dumps(measured[-1]))
    results.write("large", {"note": NOTE, "sizes": measured} | growth(*measured))


def generate(count: int, folder: Path) -> None:
    """Write images and a table of posts; those of an earlier call are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in tqdm(range(0, count, POSTS_PER_FOLDER), desc="Generated", unit="folder"):
        images = folder / f"{start:07d}"
        if images.is_dir():
            continue
        partial = folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for number in range(start, start + POSTS_PER_FOLDER):
            _draw(number).save(partial / f"{number:07d}.png")
        partial.rename(images)


def write_table(count: int, folder: Path) -> None:
    """Write the table of the first posts."""
    with _table(count, folder).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "image", "label", "text_label", "image_label"])
        for number in range(count):
            generator = random.Random(number)
            text_label, image_label = (generator.choice([*CUE_WORDS]) for _ in range(2))
            image = f"{number // POSTS_PER_FOLDER * POSTS_PER_FOLDER:07d}/{number:07d}.png"
            text = f"{_write(text_label, generator)} {_write(text_label, generator)} {number}"
            label = text_label if generator.random() < HALF else image_label
            writer.writerow([f"post-{number}", text, image, label, text_label, image_label])


def _table(count: int, folder: Path) -> Path:
    return folder / f"{count}.csv"


def _write(label: str, generator: random.Random) -> str:
    words = {**FILLERS, "cue": CUE_WORDS[label]}
    template = generator.choice(TEMPLATES)
    return re.sub(r"{(\w+)}", lambda slot: generator.choice(words[slot[1]]), template)


def _draw(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST)


def make_encoders(work: Path) -> None:
    """Write random encoders of a text and an image, of two layers each."""
    sentences = [*TEMPLATES, *(word for words in FILLERS.values() for word in words)]
    sentences += [word for words in CUE_WORDS.values() for word in words]
    words = {word for text in sentences for word in re.findall(r"[a-z]+", text.lower())}
    signs = string.ascii_lowercase + string.digits + string.punctuation
    pieces = [*SPECIAL_PIECES, *signs, *(f"##{sign}" for sign in signs)]
    pieces += sorted(words - set(pieces))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    torch.manual_seed(0)
    sizes = {**TINY, "intermediate_size": 48}
    text, image = work / "text-encoder", work / "image-encoder"
    BertTokenizer(vocab=vocabulary, model_max_length=128).save_pretrained(text)
    BertModel(
        BertConfig(vocab_size=len(pieces), max_position_embeddings=128, **sizes)
    ).save_pretrained(text)
    ViTModel(ViTConfig(image_size=SIDE_PX, patch_size=16, **sizes)).save_pretrained(image)
    size = {"height": SIDE_PX, "width": SIDE_PX}
    ViTImageProcessorPil(size=size).save_pretrained(image)


def measure(count: int, work: Path) -> dict[str, Any]:
    """Train one epoch on some posts; return processor time and memory of each phase."""
    torch.set_num_threads(1)
    cache, output = work / "cache", work / "run"
    shutil.rmtree(cache, ignore_errors=True)
    os.environ["MVCN_CACHE"] = str(cache)
    watch, started = MemoryWatch(), time.monotonic()
    with watch.running(), _watched(watch):
        run.train(
            config_of(count, work), output, overwrite=output.is_dir(), callbacks=[EpochEnd(watch)]
        )
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "posts": count,
        "seconds": round(time.monotonic() - started, 1),
        "peak_resident_mb": round(peak_kib * KIBIBYTE / MEGABYTE, 1),
        "feature_cache_mb": round(_bytes_in(cache) / MEGABYTE, 1),
        "phases": watch.phases,
    }


def config_of(count: int, work: Path) -> RunConfig:
    """Return the settings of a training on the posts of `write_table`."""
    config = read_recipe("default")
    encoders = {f"{kind}_encoder": str(work / f"{kind}-encoder") for kind in ("text", "image")}
    config.update(
        {
            "data": {"root": str(_table(count, work / "posts"))},
            "model": {**MODEL, **encoders},
            "training": {"epochs": 1, "batch_size": BATCH_SIZE, "export": False},
        }
    )
    return config


class EpochEnd(TrainerCallback):
    """Begins the phase of evaluation."""

    def __init__(self, watch: MemoryWatch) -> None:
        self._watch = watch

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin the phase of evaluation."""
        self._watch.begin("evaluation")


@contextmanager
def _watched(watch: MemoryWatch) -> Iterator[None]:
    """Begin a phase with each call of a function of `PHASES`."""
    with ExitStack() as stack:
        for name, phase in PHASES.items():
            module, function = name.rsplit(".", 1)
            original = getattr(__import__(module, fromlist=[function]), function)
            stack.enter_context(patch(name, _beginning(original, watch, phase)))
        yield


def _beginning(function: Callable[..., Any], watch: MemoryWatch, phase: str) -> Callable[..., Any]:
    @wraps(function)
    def begin(*arguments: Any, **options: Any) -> Any:
        watch.begin(phase)
        return function(*arguments, **options)

    return begin


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def growth(first: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each post adds from the first measurement to the last, and beyond it."""

    def added(value: Callable[[Mapping[str, Any]], float]) -> float:
        return max(0.0, value(last) - value(first)) / (last["posts"] - first["posts"])

    def extrapolated(value: Callable[[Mapping[str, Any]], float]) -> float:
        return round(value(last) + added(value) * (LARGEST - last["posts"]), 1)

    def each_phase(change: Callable[..., float], key: str) -> dict[str, float]:
        return {
            phase: change(lambda size, phase=phase: size["phases"][phase][key])
            for phase in last["phases"]
        }

    memory_of_phases = each_phase(added, ANONYMOUS).items()
    return {
        "bytes_per_post": {
            "anonymous": round(added(anonymous_mb) * MEGABYTE),
            "feature_cache": round(added(itemgetter("feature_cache_mb")) * MEGABYTE),
            "phases": {phase: round(grown * MEGABYTE) for phase, grown in memory_of_phases},
        },
        "extrapolated": {
            "posts": LARGEST,
            "processor_seconds": each_phase(extrapolated, "processor_seconds"),
            "peak_anonymous_mb": extrapolated(anonymous_mb),
            "feature_cache_mb": extrapolated(itemgetter("feature_cache_mb")),
        },
    }


def anonymous_mb(size: Mapping[str, Any]) -> float:
    """Return the largest memory of any phase that is of no file."""
    peak: float = max(phase[ANONYMOUS] for phase in size["phases"].values())
    return peak


if __name__ == "__main__":
    typer.run(main)
