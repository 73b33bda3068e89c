"""The two encoders of the recipe paper with random weights, and posts for them.

BERT-base and ViT-B/16 as transformers builds them by default, so nothing is downloaded; the tiny
pair is for a look at whether all works. Speed does not depend on what the weights are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import BertConfig, BertModel, PreTrainedModel, ViTConfig, ViTModel
from transformers.models.vit import ViTImageProcessorPil

from mvcn.config import RunConfig, read_recipe
from mvcn.data.datasets import read_corpus
from mvcn.data.synthetic import generate_posts, write_table
from mvcn.encoders.loading import load_tokenizer
from mvcn.inputs.processor import MvcnProcessor, build_processor
from mvcn.models.build import build_model
from mvcn.models.classification import MvcnForClassification
from mvcn.types import Corpus
from scripts.speed.training_epoch import lengthened

TEXT, IMAGE = "text-encoder", "image-encoder"
SMALL_LAYERS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Sizes of both encoders, by what differs from transformers' own, and of the network."""

    text: Mapping[str, int]
    image: Mapping[str, int]
    hidden_size: int
    feedforward_size: int
    num_heads: int
    queue_size: int


PAIRS = {
    "real": Pair({}, {}, 768, 3072, 12, 3600),
    "tiny": Pair(SMALL_LAYERS, {**SMALL_LAYERS, "image_size": 32, "patch_size": 8}, 32, 48, 4, 48),
}


def prepare(folder: Path, pair: str, count: int) -> None:
    """Write the encoders, and posts with texts as long as those of MVSA-Single."""
    sizes = PAIRS[pair]
    _save_text_encoder(BertModel(BertConfig(**sizes.text)), folder / TEXT)
    _save_image_encoder(ViTModel(ViTConfig(**sizes.image)), folder / IMAGE)
    processor = build_processor(recipe(folder, pair).model)
    write_table(lengthened(generate_posts(count, seed=0), processor), folder)


def recipe(folder: Path, pair: str, settings: Sequence[str] = ()) -> RunConfig:
    """Return the recipe paper with the encoders of the folder, and further settings."""
    sizes, config = PAIRS[pair], read_recipe("paper")
    encoders = {"text_encoder": str(folder / TEXT), "image_encoder": str(folder / IMAGE)}
    widths = {name: getattr(sizes, name) for name in ("hidden_size", "feedforward_size")}
    network = {**encoders, **widths, "num_heads": sizes.num_heads}
    config.update({"model": network, "objective": {"queue_size": sizes.queue_size}})
    config.set(settings)
    return config


def read(folder: Path, config: RunConfig) -> tuple[Corpus, MvcnForClassification, MvcnProcessor]:
    """Return the posts, a new model, and its processor."""
    corpus = read_corpus("table", folder / "posts.csv")
    model = build_model(config.model, corpus.class_names)
    return corpus, model, build_processor(config.model)


def _save_text_encoder(encoder: PreTrainedModel, folder: Path) -> None:
    """Write an encoder with the packaged tokenizer, whose vocabulary is that of BERT-base."""
    encoder.save_pretrained(folder)
    load_tokenizer("minilm-l6").save_pretrained(folder)


def _save_image_encoder(encoder: Any, folder: Path) -> None:
    encoder.save_pretrained(folder)
    side = encoder.config.image_size
    ViTImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)
