"""The Hugging Face pipeline ``image-text-classification``, which calls the `Classifier`.

Importing this module makes `transformers.pipeline` know the task; `import mvcn` imports it when the
pipelines are imported.
"""

import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset
from transformers import Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from mvcn.data.bad_images import require_content, require_policy
from mvcn.data.image_references import image_reference
from mvcn.data.posts import check_text
from mvcn.encoders.loading import has_vocabulary
from mvcn.errors import ConfigError, DataError, RunError
from mvcn.inference.classifier import Classifier, find_model
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models.classification import MvcnForClassification
from mvcn.runtime.text_counts import TextCounts
from mvcn.training.model_card import TASK
from mvcn.training.run_folder import Run
from mvcn.types import ATTRIBUTE_MODEL_FOLDER, BadImagePolicy, Post

LOG = logging.getLogger(__name__)

POST_FIELDS = {"text", "image"}
READS_ATTRIBUTES = {"attributes", "pairs"}
"""Those of `System.reads` that an attribute model finds."""


class ImageTextClassificationPipeline(Pipeline):
    """Classifies posts given as ``{"text": ..., "image": ...}``, either of which may be missing.

    The image is a path, the bytes of a file, a Pillow image or an array. One post gives a list of
    ``{"label": ..., "score": ...}``, the most probable class first, with the probabilities of
    `Classifier.predict`; of an ensemble, the first has its `disagreement`, too. A list of posts
    gives a list of such lists; any other iterable of posts a lazy iterable, in order. Rows of a
    dataset (PyTorch, Hugging Face) may have other fields, which are not read.

    >>> import mvcn, transformers  # doctest: +SKIP
    >>> ask = transformers.pipeline("image-text-classification", "runs/demo")  # doctest: +SKIP
    >>> ask({"text": "what a lovely day", "image": "beach.jpg"}, top_k=1)  # doctest: +SKIP
    [{'label': 'positive', 'score': 0.93}]

    Args:
        options: As for every pipeline, ``top_k`` (number of classes, by default all) and
            ``on_bad_image`` (as for `Classifier.predict`). A post that is left out, such as one
            of many with nothing that the model reads, gives an empty list, and each post
            changed or left out a warning.

    Raises:
        ConfigError: The model or its processor is not of `mvcn`, or an option is unknown.
        RunError: The tokenizer has no vocabulary; or the model's attribute model is missing on the
            hub.
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(self.model, MvcnForClassification):
            raise ConfigError(f"The task {TASK} needs an mvcn model, not {_kind(self.model)}.")
        if not isinstance(self.processor, MvcnProcessor):
            raise ConfigError(
                f"The task {TASK} needs the processor saved with the model: pass processor=MODEL."
            )
        if not has_vocabulary(self.processor.tokenizer):
            raise RunError(
                f"The model {self.model.name_or_path} has no vocabulary: download it again."
            )
        self.processor.limit_tokens(self.model.most_tokens(self.processor.max_tokens))
        source, attribute_model = self.model.name_or_path, None
        if READS_ATTRIBUTES & set(self.model.reads) and source:
            attribute_model = Run(find_model(source)).attribute_model
        self._classifier = Classifier(self.model, self.processor, attribute_model)
        self._posts_seen = 0
        self._has_logged_texts = False

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Classify a post, a list of posts, or any other iterable of posts.

        Args:
            inputs: Posts as the class describes them.
            options: ``batch_size``, ``top_k``, ``on_bad_image`` for this call.

        Raises:
            BadImageError: An image cannot be read and the policy is ``error``.
            ConfigError: An option is unknown or out of range.
            DataError: Something is not a post; or a single post has nothing that the model reads.
        """
        self._posts_seen = 0
        if isinstance(inputs, Mapping):
            post = _post(inputs)
            require_content(post, self._classifier.reads)
            inputs = {"text": post.text, "image": post.image}
        if isinstance(inputs, tuple):
            inputs = list(inputs)
        if isinstance(inputs, list) and not inputs:
            return []
        if _is_dataset(inputs):
            inputs = _PostRows(inputs)
        elif not isinstance(inputs, (Mapping, list, str)) and isinstance(inputs, Iterable):
            inputs = (one for one in inputs)
        return super().__call__(inputs, **options)

    def preprocess(self, inputs: Any) -> dict[str, Any]:
        """Return a post for the `Classifier`."""
        return {"post": _post(inputs)}

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Save the model, its processor and its attribute model, if it has one.

        Args:
            save_directory: Created if it does not exist.
            options: As for the model's own `save_pretrained`.
        """
        self.model.save_pretrained(save_directory, **options)
        self.processor.save_pretrained(save_directory)
        if self._classifier.attribute_model is not None:
            self._classifier.attribute_model.save(Path(save_directory) / ATTRIBUTE_MODEL_FOLDER)

    def postprocess(self, model_outputs: Any, top_k: int | None = None) -> list[dict[str, Any]]:
        """Return the classes with their probabilities, the most probable first."""
        prediction = model_outputs["prediction"]
        found = sorted(prediction.probabilities.items(), key=lambda one: one[1], reverse=True)
        answer = [{"label": label, "score": score} for label, score in found[:top_k]]
        if prediction.disagreement is not None:
            answer[0]["disagreement"] = prediction.disagreement
        return answer

    def _sanitize_parameters(
        self, **options: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Distribute the options of a call over preprocessing, model and postprocessing."""
        if unknown := sorted(options.keys() - {"top_k", "on_bad_image"}):
            raise ConfigError(
                f"The task {TASK} has no argument {', '.join(unknown)}: leave it out."
            )
        top_k = options.get("top_k")
        if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise ConfigError(f"top_k is {top_k}, but must be at least 1, or None.")
        require_policy(options.get("on_bad_image", "error"))
        for_model, after = (
            {name: options[name] for name in names & options.keys()}
            for names in ({"on_bad_image"}, {"top_k"})
        )
        return {}, for_model, after

    def _forward(
        self, input_tensors: Any, on_bad_image: BadImagePolicy = "error"
    ) -> dict[str, Any]:
        """Classify one post or a collated list of posts."""
        given = input_tensors["post"]
        shown = given if isinstance(given, list) else [given]
        posts = [replace(post, id=str(i)) for i, post in enumerate(shown, self._posts_seen)]
        self._posts_seen += len(posts)
        found = list(self._classifier.each_prediction(posts, on_bad_image))
        counts = sum((one.text_counts for one in found), TextCounts())
        self._has_logged_texts = self._has_logged_texts or counts.log()
        for one in found:
            if one.problem is not None:
                outcome = "classified without it" if one.probabilities else "left out"
                warnings.warn(f"Post {one.id!r} was {outcome}: {one.problem}", stacklevel=2)
        return {"prediction": found if isinstance(given, list) else found[0]}


class _PostRows(Dataset[Any]):
    """A dataset without fields that are not of a post, such as labels."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows
        self._has_logged = False

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        row = self._rows[index]
        if not isinstance(row, Mapping) or not POST_FIELDS & row.keys():
            return row  # not a post: refused later
        others = row.keys() - POST_FIELDS
        if others and not self._has_logged:
            self._has_logged = True
            LOG.info("These fields of the dataset are not read: %s.", ", ".join(sorted(others)))
        return {name: row[name] for name in POST_FIELDS & row.keys()}


def _is_dataset(inputs: object) -> bool:
    """Return whether it is a map-style dataset of PyTorch or Hugging Face."""
    is_one = isinstance(inputs, Dataset) or type(inputs).__module__.startswith("datasets.")
    return is_one and hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")


def _post(inputs: Any) -> Post:
    """Return a post without an id."""
    if not isinstance(inputs, Mapping) or inputs.keys() - POST_FIELDS:
        what = sorted(map(str, inputs)) if isinstance(inputs, Mapping) else _kind(inputs)
        raise DataError(f'A post must be {{"text": ..., "image": ...}}, not {what}.')
    return Post("", check_text(inputs.get("text")), image_reference(inputs.get("image")))


def _kind(thing: object) -> str:
    return type(thing).__name__


PIPELINE_REGISTRY.register_pipeline(
    TASK,
    pipeline_class=ImageTextClassificationPipeline,
    pt_model=MvcnForClassification,
    type="multimodal",
)
