"""Image attributes from any image classifier or captioner of Hugging Face."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
)

from mvcn.data.images import image_digest, open_image
from mvcn.encoders.loading import load_image_processor, load_part, load_pretrained
from mvcn.files import set_usual_permissions, write_json
from mvcn.inputs.feature_cache import default_cache_root, warn_of_cache
from mvcn.inputs.images import encoder_fingerprint
from mvcn.types import Post

KIND = "attribute model"
IMAGES_AT_ONCE = 16
TOP = 5
MAX_CAPTION_TOKENS = 30
Attributes = tuple[str, ...]


class AttributeModel:
    """Finds attributes of posts' images: words that name what is in them.

    Of a classifier these are the names of its likeliest classes, of a captioner the words of its
    caption.

    Args:
        model: An image classifier, or a model that writes a text for an image.
        image_processor: Its own.
        tokenizer: Of a captioner.
    """

    def __init__(self, model: PreTrainedModel, image_processor: Any, tokenizer: Any = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.image_processor = image_processor
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, name: str | Path) -> "AttributeModel":
        """Load a classifier or captioner by folder or hub name.

        Raises:
            ConfigError: There is none, or it is neither.
        """
        config = load_part(AutoConfig, str(name), KIND)
        processor = load_image_processor(str(name))
        if type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
            auto = AutoModelForImageClassification
            return cls(load_pretrained(auto, str(name), KIND), processor)
        model = load_pretrained(AutoModelForImageTextToText, str(name), KIND)
        return cls(model, processor, load_part(AutoTokenizer, str(name), KIND))

    def save(self, folder: Path) -> None:
        """Write all that `load` needs."""
        for part in (self.model, self.image_processor, self.tokenizer):
            if part is not None:
                part.save_pretrained(folder)
        set_usual_permissions(*folder.glob("*.safetensors"))

    def add_attributes(
        self, posts: Sequence[Post], cache: "AttributeCache | None" = None
    ) -> list[Post]:
        """Return the posts, those that have an image and no attributes with attributes.

        Args:
            posts: Their images can be read.
            cache: Where attributes are kept from one call to the next.
        """
        known = AttributeCache(None) if cache is None else cache
        shown = {
            i: image_digest(post.image)
            for i, post in enumerate(posts)
            if post.image is not None and not post.attributes
        }
        missing = {digest: i for i, digest in shown.items() if digest not in known}
        with tqdm(
            total=len(missing), desc="Image attributes", unit="image", disable=cache is None
        ) as progress:
            for start in range(0, len(missing), IMAGES_AT_ONCE):
                chosen = list(missing)[start : start + IMAGES_AT_ONCE]
                found = self._attributes([posts[missing[digest]].image for digest in chosen])
                known.add(dict(zip(chosen, found, strict=True)))
                progress.update(len(chosen))
        return [
            replace(post, attributes=known[shown[i]]) if i in shown else post
            for i, post in enumerate(posts)
        ]

    def disk_cache(self) -> "AttributeCache":
        """Return where attributes that this model finds are kept for all runs."""
        fingerprint = encoder_fingerprint(self.model, self.image_processor)
        root = default_cache_root()
        return AttributeCache(None if root is None else root / "image-words" / fingerprint)

    @torch.inference_mode()
    def _attributes(self, images: Sequence[Any]) -> list[Attributes]:
        opened = [open_image(image, warn=None) for image in images]
        pixels = self.image_processor(images=opened, return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.model.device)
        if self.tokenizer is not None:
            ids = self.model.generate(pixel_values=pixels, max_new_tokens=MAX_CAPTION_TOKENS)
            captions = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
            return [tuple(caption.split()) for caption in captions]
        logits = self.model(pixel_values=pixels).logits
        top = logits.topk(min(TOP, logits.shape[1]), dim=1).indices.tolist()
        return [tuple(self.model.config.id2label[index] for index in row) for row in top]


class AttributeCache:
    """Attributes by the digest of the image, in files that are each complete or absent.

    Args:
        folder: Where. Without one, and where it cannot be written, they are held in memory; the
            latter is logged as a warning.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._attributes: dict[str, Attributes] = {}
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                for path in sorted(folder.glob("*.json")):
                    self._attributes |= _read_attributes(path)
            except OSError as error:
                self._hold_in_memory(folder, error)

    def __contains__(self, digest: str) -> bool:
        return digest in self._attributes

    def __getitem__(self, digest: str) -> Attributes:
        """Return the attributes of an image."""
        return self._attributes[digest]

    def add(self, attributes: Mapping[str, Attributes]) -> None:
        """Keep attributes by digest."""
        self._attributes |= attributes
        if self._folder is not None:
            try:
                write_json(self._folder / f"{uuid.uuid4().hex}.json", attributes)
            except OSError as error:
                self._hold_in_memory(self._folder, error)

    def _hold_in_memory(self, folder: Path, error: OSError) -> None:
        self._folder = None
        warn_of_cache(folder, error)


def _read_attributes(path: Path) -> dict[str, Attributes]:
    """Return attributes by digest; none where the file is incomplete."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return {digest: tuple(words) for digest, words in found.items()}
    except (ValueError, AttributeError, TypeError):
        return {}
