"""From posts with image files to probabilities, one at a time and 32 at a time.

Work, the same for both sides: JPEG files as those of `image_features`, each with the text of a
generated post; MiniLM-L6, EfficientNet-Lite0 and a network of one text-guided unit, with random
weights where there are no packaged ones. Both sides predict a few posts before the clock starts.

Ours is `Classifier.predict` with each backend, in a process with the allocator setting of the
command line; the one called compiled is torch with its model compiled by `torch.compile`, before
the clock starts. The reference is the loop that one would write with
transformers: tokenizer and encoders as their packages build them, in eval mode, without gradients,
images decoded between batches.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer

from mvcn.cli.process import set_up_process
from mvcn.config import read_recipe
from mvcn.data.synthetic import generate_posts
from mvcn.encoders.loading import packaged_folder
from mvcn.inference.backends import Backend
from mvcn.inference.classifier import Classifier
from mvcn.inputs.processor import build_processor
from mvcn.models.build import build_model
from mvcn.runtime.graphs import weights_digest
from mvcn.training.export import write_graphs
from mvcn.types import Post
from scripts.speed import image_features
from scripts.speed.plain_training import small_classifier

CLASSES = ("negative", "neutral", "positive")
RUN = "run"
BACKENDS: dict[str, Backend] = {
    "eager": "torch",
    "compiled": "torch",
    "onnx": "onnx",
}
"""Name of a benchmark -> backend that it runs on."""
MAX_TOKENS = 64


def prepare(folder: Path, count: int, backend: Backend) -> None:
    """Write the image files, and a model with its graph if the backend needs one."""
    image_features.prepare(folder, count)
    config, run = read_recipe("single").model, folder / RUN
    torch.manual_seed(0)
    model, processor = build_model(config, CLASSES).eval(), build_processor(config)
    model.save_pretrained(run)
    processor.save_pretrained(run)
    if backend != "torch":
        write_graphs(model, processor, run, weights_digest(run))


def ours(folder: Path, backend: Backend, batch: int, *, is_compiled: bool = False) -> float:
    """Return posts/s through `Classifier`."""
    set_up_process()
    classifier = Classifier.from_pretrained(folder / RUN, backend)
    if is_compiled:
        classifier.model.compile(dynamic=True)
    return _warm_rate(folder, batch, lambda posts: list(classifier.predict(posts)))


@torch.no_grad()
def reference(folder: Path, batch: int) -> float:
    """Return posts/s through a plain loop."""
    model, images = small_classifier().eval(), image_features.published_model()
    tokenizer = AutoTokenizer.from_pretrained(packaged_folder("minilm-l6"))

    def predict(posts: list[Post]) -> None:
        texts = tokenizer(
            [post.text for post in posts],
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        )
        (features,) = image_features.plain_features(images, [Path(str(p.image)) for p in posts])
        model(texts["input_ids"], texts["attention_mask"], features)[0].softmax(-1)

    return _warm_rate(folder, batch, predict)


def rate(predict: Callable[[list[Post]], object], given: Sequence[list[Post]]) -> float:
    """Return the posts/s at which a function predicts batches of posts."""
    started = time.perf_counter()
    for posts in given:
        predict(posts)
    return sum(map(len, given)) / (time.perf_counter() - started)


def _warm_rate(folder: Path, batch: int, predict: Callable[[list[Post]], object]) -> float:
    timed = list(batches(folder, "timed", batch))
    rate(predict, [*batches(folder, "warm-up", batch), timed[0]])
    return rate(predict, timed)


def batches(folder: Path, kind: str, batch: int) -> Iterator[list[Post]]:
    """Yield the posts of the image files of a kind, ``timed`` or ``warm-up``."""
    files = image_features.image_files(folder, kind)
    texts = [one.post.text for one in generate_posts(len(files), seed=0)]
    posts = [Post(path.stem, text, path) for path, text in zip(files, texts, strict=True)]
    for start in range(0, len(posts), batch):
        yield posts[start : start + batch]
