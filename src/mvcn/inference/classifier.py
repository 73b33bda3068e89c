"""The one path from posts to predictions, taken by Python and the command line alike."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Float

from mvcn.data.bad_images import require_content, require_images, require_policy
from mvcn.data.image_references import GivenImage, image_reference
from mvcn.data.posts import check_posts, check_text, each_post, label_ids
from mvcn.data.text import has_text
from mvcn.errors import WITHOUT_IMAGE, BadImageError, DataError, RunError
from mvcn.files import require_allowed
from mvcn.inference.backends import Backend, load_graphs
from mvcn.models.registry import described_system
from mvcn.runtime.graphs import GraphModel
from mvcn.runtime.processing import PostProcessing
from mvcn.runtime.text_counts import TextCounts
from mvcn.training.run_folder import Run
from mvcn.types import DISAGREEMENT, BadImagePolicy, Post, TargetScore, probability_columns

if TYPE_CHECKING:
    from mvcn.evaluation.metrics import Evaluation
    from mvcn.inputs.attributes import AttributeModel
    from mvcn.inputs.processor import MvcnProcessor
    from mvcn.inputs.torch_model import TorchModel
    from mvcn.models.classification import MvcnForClassification

LOG = logging.getLogger(__name__)
POSTS_AT_ONCE = 256


def find_model(source: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a model, downloaded if `source` is a name on the hub.

    The hub is queried only for a string that is not an existing path, never for a `Path`.

    Args:
        source: A folder, or a name on the Hugging Face hub such as ``someone/posts``.
        revision: Branch, tag or commit on the hub; by default its main branch.

    Raises:
        RunError: It is neither a folder nor a model on the hub, or may not be read.
    """
    folder = Path(source)
    require_allowed(folder, RunError, "The model")
    if isinstance(source, Path) or folder.exists():
        return folder
    from mvcn.inference.hub import download  # its libraries take a while to load

    return download(source, revision)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one post."""

    id: str
    label: str | None
    """The most probable class; None if it is not probable enough, or without probabilities."""
    probabilities: Mapping[str, float]
    """Class name -> calibrated probability, in the model's order; they sum to 1. Empty for a post
    that is left out: by the policy ``drop``, or since it has nothing that the model reads."""
    problem: str | None = None
    """Why the post was left out, or classified without its image, as a sentence."""
    text_counts: TextCounts = field(default_factory=TextCounts)
    """How much of the post's text was read."""
    disagreement: float | None = None
    """Standard deviation of the predicted class's probability over the members of an ensemble,
    0 to 0.5; None for a model without members, and for a post that is left out."""


@dataclass(frozen=True, slots=True)
class EvaluatedPosts:
    """Scores of labelled posts, and which of them were not read completely."""

    posts: Sequence[Post]
    """Those that were evaluated, in order."""
    probabilities: Float[np.ndarray, "batch classes"]
    """Calibrated; classes in the model's order."""
    evaluation: "Evaluation"
    by_modality: "Mapping[str, Evaluation]"
    """What the posts have (as in `MODALITIES`) -> their scores; empty where all have the same."""
    bad_images: Mapping[str, str]
    """Post id -> why its image cannot be read."""
    left_out: Mapping[str, str]
    """Post id -> why it was not evaluated: it has nothing that the model reads."""
    text_counts: TextCounts
    """How much of the texts was read."""
    risk: Mapping[str, float]
    """Reason not to give a label -> area under the risk-coverage curve: ``probability`` where it
    is low, and for an ensemble ``disagreement`` where it is high; see `risk_coverage`."""


class Classifier:
    """A trained model and its processor.

    Args:
        model: The model, or its graph.
        processor: Saved with it.
        attribute_model: Finds attributes of images, where the model reads them.

    >>> classifier = Classifier.from_pretrained("runs/demo")  # doctest: +SKIP
    >>> classifier.predict_one("what a lovely day", "beach.jpg").label  # doctest: +SKIP
    'positive'
    """

    def __init__(
        self,
        model: "MvcnForClassification | GraphModel",
        processor: PostProcessing,
        attribute_model: "AttributeModel | None" = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self.attribute_model = attribute_model
        self._backend = _backend(model, processor, attribute_model)
        about = described_system(model.config)
        self.reads, self._ignored = about.learned(model.config), about.ignored(model.config)
        self._has_logged_texts = self._has_warned = False

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        backend: Backend = "auto",
        revision: str | None = None,
        target: TargetScore | None = None,
    ) -> "Classifier":
        """Load a run folder, any folder that model and processor were saved to, or a hub name.

        Args:
            source: As for `find_model`.
            backend: torch, or the graphs that `mvcn train` and `mvcn export` write; auto takes the
                graphs if there are any and they were made of the weights next to them.
            revision: As for `find_model`.
            target: Score for which classes are predicted; by default that of the training.

        Raises:
            ConfigError: PyTorch is needed and not installed.
            RunError: There is no such model, the run is not finished, a file of it is missing or
                damaged, or it has no offsets for macro F1.
        """
        run = Run(find_model(source, revision))
        graphs = load_graphs(run, backend)
        if graphs is not None:
            found = cls(graphs, graphs.processor)
        else:
            found = cls(run.model, run.processor, run.attribute_model)
        if target is not None:
            found.model.config.logit_offsets = run.logit_offsets(target)
        return found

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the probabilities."""
        names: tuple[str, ...] = self.model.class_names
        return names

    @property
    def has_members(self) -> bool:
        """Whether it is an ensemble, whose predictions have a `disagreement`."""
        return bool(self.model.config.members > 1)

    @property
    def score_columns(self) -> list[str]:
        """Columns of a prediction's numbers in files: probabilities, and those of an ensemble."""
        names = probability_columns(self.class_names)
        return [*names, DISAGREEMENT] if self.has_members else names

    def scores(self, prediction: Prediction) -> list[float | None]:
        """Return the values of `score_columns`, None where the post was left out."""
        scores = [prediction.probabilities.get(name) for name in self.class_names]
        return [*scores, prediction.disagreement] if self.has_members else scores

    def predict_one(
        self,
        text: str | float | None = "",
        image: GivenImage = None,
        on_bad_image: BadImagePolicy = "error",
        min_probability: float = 0.0,
    ) -> Prediction:
        """Classify one post; see `predict`. Text and image may be missing: None, or NaN of pandas.

        Raises:
            BadImageError: The image cannot be read and the policy is ``error``.
            ConfigError: There is no such policy.
            DataError: There is neither text nor image, or nothing that the model reads; or the
                text is not a string, or the image of no kind that `image_reference` takes.
        """
        given = Post("post", check_text(text), image_reference(image))
        (post,) = check_posts([given])
        require_content(post, self.reads)
        require_policy(on_bad_image)
        policy = "blank" if on_bad_image == "error" else on_bad_image
        found = next(self.each_prediction([post], policy, min_probability))
        self._has_logged_texts = self._has_logged_texts or found.text_counts.log()
        if found.problem is not None and on_bad_image == "error":
            raise BadImageError(f"{found.problem} Fix it, or continue with {WITHOUT_IMAGE}.")
        return found

    def predict(
        self,
        posts: Iterable[Post],
        on_bad_image: BadImagePolicy = "error",
        min_probability: float = 0.0,
    ) -> Iterator[Prediction]:
        """Yield one prediction for each post, in order; memory stays flat, however many they are.

        For a sequence of posts, missing images are found before the first prediction. After the
        last prediction the log says how many texts were truncated.

        Args:
            posts: Labels are not read, and ids may repeat. A post with nothing that the model
                reads, such as one without text and image, gets no label and a `problem`.
            on_bad_image: What to do with an image that cannot be read.
            min_probability: Smallest probability of a label that is given; see `Run.threshold`.

        Raises:
            BadImageError: An image cannot be read and the policy is ``error``.
            ConfigError: There is no such policy.
            DataError: Something is not a post, a text is not a string, or an image is of no kind
                that `image_reference` takes.
        """
        counts = TextCounts()
        for one in self.each_prediction(posts, on_bad_image, min_probability):
            counts += one.text_counts
            yield one
        counts.log()

    def each_prediction(
        self,
        posts: Iterable[Post],
        on_bad_image: BadImagePolicy = "error",
        min_probability: float = 0.0,
    ) -> Iterator[Prediction]:
        """Yield what `predict` yields, and log nothing about texts, as for a part of a job."""
        require_policy(on_bad_image)
        if isinstance(posts, Sequence):
            posts = check_posts(posts)
            self._require_images(posts, on_bad_image)
        encoder = self._backend.encoder()
        waiting = each_post(posts)
        while chunk := check_posts(islice(waiting, POSTS_AT_ONCE)):
            self._warn_of_ignored(chunk)
            encoded = encoder.encode(chunk, on_bad_image)
            outputs = zip(encoded.positions, *self._backend.predict(encoded), strict=True)
            rows = {i: (row, spread) for i, row, spread in outputs}
            counts = dict(zip(encoded.positions, encoded.text_counts, strict=True))
            for i, post in enumerate(chunk):
                problem = encoded.problems.get(i)
                found = (
                    self._prediction(post.id, *rows[i], problem, min_probability)
                    if i in rows
                    else Prediction(post.id, None, {}, problem)
                )
                yield replace(found, text_counts=counts.get(i, found.text_counts))

    def evaluate(
        self, posts: Sequence[Post], on_bad_image: BadImagePolicy = "error"
    ) -> EvaluatedPosts:
        """Evaluate the model on labelled posts; image features are kept in the cache.

        Posts with nothing that the model reads are not evaluated.

        Raises:
            DataError: There is no post, or one without a label or with an unknown one.
            BadImageError: An image cannot be read and the policy is ``error``.
            ConfigError: There is no such policy.
        """
        from mvcn.evaluation.metrics import evaluate_groups, evaluate_predictions
        from mvcn.evaluation.selective_classification import risk_coverage

        require_policy(on_bad_image)
        posts = check_posts(posts)
        self._require_labels(posts)
        self._warn_of_ignored(posts)
        self._require_images(posts, on_bad_image)
        encoded = self._backend.encoder(keeps=True).encode(posts, on_bad_image)
        self._require_labels(encoded.posts)
        rows, disagreement = self._backend.predict(encoded)
        labels = np.array(label_ids(encoded.posts, self.class_names))
        certainties = {"probability": rows.max(1)}
        if self.has_members:
            certainties["disagreement"] = -disagreement
        is_right = rows.argmax(1) == labels
        counts = sum(encoded.text_counts, TextCounts())
        counts.log()
        return EvaluatedPosts(
            encoded.posts,
            rows,
            evaluate_predictions(rows, labels, self.class_names),
            evaluate_groups(rows, labels, encoded.modalities, self.class_names),
            encoded.bad_images,
            encoded.left_out,
            counts,
            {name: risk_coverage(one, is_right).area for name, one in certainties.items()},
        )

    def _warn_of_ignored(self, posts: Sequence[Post]) -> None:
        """Warn once of what the model ignores, since no training post had it."""
        for name in () if self._has_warned else self._ignored:
            has = {"image": lambda post: post.image is not None, "text": lambda p: has_text(p.text)}
            if any(map(has[name], posts)):
                self._has_warned = True
                LOG.warning(
                    "The %ss are ignored, since no post in training had one: train with them if "
                    "they matter.",
                    name,
                )

    def _require_images(self, posts: Sequence[Post], on_bad_image: BadImagePolicy) -> None:
        if set(self.reads) != {"text"}:
            require_images(posts, on_bad_image)

    def _require_labels(self, posts: Sequence[Post]) -> None:
        """Raise a DataError unless there are posts, all with labels that the model knows."""
        if not posts:
            raise DataError("There is nothing to evaluate: every post was left out.")
        for post in posts:
            if post.label is None:
                raise DataError(f"Post {post.id!r} has no label: add one, or leave the post out.")
        label_ids(posts, self.class_names)

    def _prediction(
        self,
        post_id: str,
        row: Float[np.ndarray, " classes"],
        disagreement: np.float64,
        problem: str | None,
        min_probability: float,
    ) -> Prediction:
        by_class = dict(zip(self.class_names, row.tolist(), strict=True))
        best = max(by_class, key=by_class.__getitem__)
        label = best if by_class[best] >= min_probability else None
        spread = float(disagreement) if self.has_members else None
        return Prediction(post_id, label, by_class, problem, disagreement=spread)


def _backend(
    model: "MvcnForClassification | GraphModel",
    processor: PostProcessing,
    attribute_model: "AttributeModel | None",
) -> "TorchModel | GraphModel":
    if isinstance(model, GraphModel):
        return model
    from mvcn.inputs.torch_model import TorchModel  # torch takes seconds to load

    return TorchModel(model, cast("MvcnProcessor", processor), attribute_model)
