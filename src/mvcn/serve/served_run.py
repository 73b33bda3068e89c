"""A run as the service uses it: everything here runs in the one thread that computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from mvcn.data.image_references import DecodedImage
from mvcn.explain.figures import draw_heat_map
from mvcn.explain.post import Explanation, explain
from mvcn.explain.saliency import Method
from mvcn.inference import Backend, Classifier, Prediction
from mvcn.inputs.batches import PostEncoder
from mvcn.models.classification import MvcnForClassification
from mvcn.training.run_folder import CARD_FILE, RECORDED_PACKAGES, Run
from mvcn.types import Post

METHOD: Method = "occlusion"
WARM_UP = Post("warm-up", "warm-up", DecodedImage(Image.new("RGB", (8, 8))))


@dataclass(frozen=True, slots=True)
class ExplainedPost:
    """A prediction, and what decided it."""

    prediction: Prediction
    explanation: Explanation | None
    """None where the image could not be read."""
    heat_map: bytes | None
    """A PNG; None for a post without an image, or a model that reads none."""


class ServedRun:
    """A run folder whose model answers.

    Args:
        folder: A finished run.
        backend: What computes the predictions.

    Raises:
        RunError: The folder is not a finished run, or a file in it is damaged or missing.
    """

    def __init__(self, folder: Path, backend: Backend = "torch") -> None:
        self.run = Run(folder)
        self.backend = backend
        self.classifier = Classifier.from_pretrained(folder, backend)
        self.columns = self.run.columns
        """Our name of a column -> its name in the table that the run learned from."""

    def predict(self, posts: Sequence[Post]) -> list[Prediction]:
        """Return one prediction a post; one whose image cannot be read is classified without it.

        Posts of several requests may have the same id.
        """
        return list(self.classifier.predict(posts, on_bad_image="blank"))

    def explain(self, posts: Sequence[Post]) -> list[ExplainedPost]:
        """Return what decided each post; by torch, whatever computes the predictions."""
        return [self._explain(post) for post in posts]

    def describe(self) -> dict[str, Any]:
        """Return what clients may know of the model."""
        config, card = self.classifier.model.config, self.run.folder / CARD_FILE
        return {
            "labels": list(self.classifier.class_names),
            "network": config.network,
            "reads": list(self.classifier.reads),
            "backend": self.backend,
            "temperature": config.temperature,
            "versions": {name: version(name) for name in RECORDED_PACKAGES},
            "trained_with": self.run.environment,
            "card": card.read_text("utf-8") if card.is_file() else None,
        }

    @cached_property
    def _model(self) -> MvcnForClassification:
        """The model that is explained, loaded when it is first needed."""
        model = self.classifier.model
        return model if isinstance(model, MvcnForClassification) else self.run.model

    def _explain(self, post: Post) -> ExplainedPost:
        (prediction,) = self.predict([post])
        if prediction.problem is not None:
            return ExplainedPost(prediction, None, None)
        processor = self.classifier.processor
        encoder = PostEncoder.for_prediction(
            self._model.config.network, processor, self.classifier.attribute_model
        )
        (found,) = explain(self._model, processor, encoder.encode([post]), METHOD)
        return ExplainedPost(prediction, found, draw_heat_map(found))
