"""From image files to token features: decode, resize, normalise, encode with EfficientNet-Lite0.

Work, the same for both sides: JPEG files of 384 pixels and quality 85, each with a drawing of the
generated posts and the noise of a camera. Both sides encode a few others before the clock starts;
loading the weights is not timed.

Ours is what ``mvcn train`` does before the first epoch: `ImageFeatures.encode` on posts and a cache
that has the encoder's graph and no features, in a process with the allocator setting of the command
line. Writing the cache is included. The reference is the loop that one would write: the published
module in eval mode without gradients, batches of 32, decoded and normalised between batches,
features kept in memory.
"""

import io
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor

from mvcn.cli.process import set_up_process
from mvcn.config import read_recipe
from mvcn.data.synthetic import generate_posts
from mvcn.encoders.loading import PACKAGED, packaged_folder
from mvcn.inputs.images import ImageFeatures
from mvcn.inputs.processor import build_processor
from mvcn.models.build import build_model
from mvcn.types import Post

SIDE_PX = 384
JPEG_QUALITY = 85
NOISE = 6.0
"""Standard deviation of the noise, in grey levels."""
WARM_UP_SHARE = 1 / 16
"""Images to warm up with, as a share of those of which the time is taken."""
BATCH_SIZE = 32
FORWARD_FLOPS = 0.81e9
"""Of EfficientNet-Lite0 on 224 pixels: two for each of its 407 million multiply-adds."""

MEAN = np.float32(127 / 255)
DEVIATION = np.float32(128 / 255)


def prepare(folder: Path, count: int) -> None:
    """Write the image files, and others to warm up with."""
    warm_up = math.ceil(count * WARM_UP_SHARE)
    for number, generated in enumerate(generate_posts(warm_up + count, seed=0)):
        noise = np.random.default_rng(number).normal(0, NOISE, (SIDE_PX, SIDE_PX, 3))
        with Image.open(io.BytesIO(generated.post.image)) as drawing:
            pixels = np.asarray(drawing.convert("RGB").resize((SIDE_PX, SIDE_PX)))
        noisy = Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
        kind = "warm-up" if number < warm_up else "timed"
        noisy.save(folder / f"{kind}-{number:05d}.jpg", quality=JPEG_QUALITY)


def ours(folder: Path) -> float:
    """Return images/s through `ImageFeatures`."""
    set_up_process()
    config = read_recipe("single").model
    model = build_model(config, ("negative", "neutral", "positive"))
    cache = folder / f"cache-{time.time_ns()}"
    images = ImageFeatures(model, build_processor(config), cache, by_graph=True)
    warm_up, timed = (
        [Post(path.stem, "", path) for path in image_files(folder, kind)]
        for kind in ("warm-up", "timed")
    )
    images.encode(warm_up)
    started = time.perf_counter()
    images.encode(timed)
    return len(timed) / (time.perf_counter() - started)


def reference(folder: Path) -> float:
    """Return images/s through a plain loop."""
    model = published_model()
    timed = image_files(folder, "timed")
    plain_features(model, image_files(folder, "warm-up"))
    started = time.perf_counter()
    plain_features(model, timed)
    return len(timed) / (time.perf_counter() - started)


def limit(folder: Path, rate: float) -> float:
    """Return images/s if encoding were all and ran at `rate` FLOP/s."""
    return rate / FORWARD_FLOPS


def image_files(folder: Path, kind: str) -> list[Path]:
    """Return the files to warm up with, or those of which the time is taken."""
    return sorted(folder.glob(f"{kind}-*.jpg"))


def published_model() -> EfficientNet:
    """Return EfficientNet-Lite0 as its package builds it, with the packaged weights."""
    (file,) = PACKAGED["efficientnet-lite0"].sha256
    weights = torch.load(packaged_folder("efficientnet-lite0") / file, weights_only=True)
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(weights)
    return model.eval()


@torch.no_grad()
def plain_features(model: EfficientNet, paths: Sequence[Path]) -> list[Tensor]:
    """Return the token features of the images, a tensor for each batch."""
    features = []
    for start in range(0, len(paths), BATCH_SIZE):
        batch = torch.stack([_pixels(path) for path in paths[start : start + BATCH_SIZE]])
        features.append(model.extract_features(batch).flatten(2).transpose(1, 2))
    return features


def _pixels(path: Path) -> Tensor:
    image = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    scaled = (np.asarray(image, dtype=np.float32) / 255 - MEAN) / DEVIATION
    return torch.from_numpy(scaled.transpose(2, 0, 1))
