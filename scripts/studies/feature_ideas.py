"""Ideas tried on frozen features of MVSA-Single; writes results/feature-ideas.json.

Run from the repository's root: ``python -m scripts.studies.feature_ideas DIR``, with splits in
DIR/splits. A linear classifier of frozen features takes seconds where a network takes minutes, and
shows whether an idea is promising. The folds are those of ``mvcn experiment best-folds``. Ideas
that have a result are not evaluated again.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image, ImageOps
from scipy.special import softmax
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm import tqdm
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from mvcn.cli.process import set_up_process
from mvcn.config import DataConfig
from mvcn.data.datasets.mvsa import POLARITIES, merge_labels
from mvcn.data.images import open_image, prefetch
from mvcn.data.reading import read_training_posts
from mvcn.encoders.images import frozen_image_tokens
from mvcn.encoders.loading import (
    EFFICIENTNET_LITE0,
    load_image_encoder,
    load_image_processor,
    load_text_encoder,
    load_tokenizer,
)
from mvcn.evaluation.metrics import evaluate_predictions
from mvcn.experiments.grid import assign_folds
from mvcn.model_config import ModelConfig
from mvcn.models.objects import ObjectClassifier
from mvcn.training.teacher import out_of_fold_probabilities
from mvcn.types import Post
from scripts import results

FOLDS = 5
BATCH_SIZE = 64
SIDE_PX, LARGE_SIDE_PX = 224, 320
GRID = 7
"""Image tokens a side at 224 pixels."""
DOUBTFUL = 0.05
"""Probability of its own label at which a training post counts as wrongly labelled."""
COMPONENTS = 200
MARKS = re.compile(r"https?://\S+|\bRT\b|@\w+|#")
PAIRS = [(text, image) for text in POLARITIES for image in POLARITIES]
METRICS = ("accuracy", "f1_weighted")
Rows = np.ndarray


@dataclass(frozen=True)
class Idea:
    """One way to make features of posts, and a classifier of features."""

    name: str
    features: tuple[str, ...] = ("text", "image")
    """Names of `FEATURES`, concatenated."""
    head: str = "pair"
    """What is predicted: the pair of text and image label, both apart, or the post's label."""
    classifier: Callable[[], Any] = lambda: LogisticRegression(C=1e-3, max_iter=300)
    drops_doubtful: bool = False
    """Leave out training posts whose label a classifier of other posts doubts."""


IDEAS = (
    Idea("reference: four text layers and the image, pairs, logistic regression"),
    Idea("text alone", ("text",)),
    Idea("image alone", ("image",)),
    Idea("label of the post in place of pairs", head="label"),
    Idea("text label and image label apart, then the merge rule", head="apart"),
    Idea("last text layer alone", ("last_text", "image")),
    Idea("all text layers", ("all_text", "image")),
    Idea("largest text values in addition to the mean", ("text", "largest_text", "image")),
    Idea("addresses, names, retweet marks and hashes removed", ("clean_text", "image")),
    Idea("word and character n-grams (TF-IDF, 200 components)", ("text", "ngrams", "image")),
    Idea("lexicon of sentiment (VADER)", ("text", "lexicon", "image")),
    Idea("length, capitals and marks of the text", ("text", "style", "image")),
    Idea("largest image values in addition to the mean", ("text", "image", "largest_image")),
    Idea("image in four quarters", ("text", "image", "quarters")),
    Idea("1,000 objects named by the image encoder", ("text", "image", "objects")),
    Idea("colours: brightness, saturation, hues", ("text", "image", "colours")),
    Idea("image and its mirror image", ("text", "image", "mirrored")),
    Idea("image at 320 pixels in place of 224", ("text", "large_image")),
    Idea("products of text and image components", ("text", "image", "products")),
    Idea("weaker penalty (C = 0.01)", classifier=lambda: LogisticRegression(C=1e-2, max_iter=300)),
    Idea(
        "stronger penalty (C = 0.0001)",
        classifier=lambda: LogisticRegression(C=1e-4, max_iter=300),
    ),
    Idea(
        "classes weighted by rarity",
        head="label",
        classifier=lambda: LogisticRegression(C=1e-3, max_iter=300, class_weight="balanced"),
    ),
    Idea("linear discriminant analysis, shrunk", classifier=lambda: _reduced(_discriminant())),
    Idea("support vectors, radial kernel", classifier=lambda: SVC(C=3.0)),
    Idea("50 nearest neighbours", classifier=lambda: _reduced(KNeighborsClassifier(50))),
    Idea("boosted trees", classifier=lambda: _reduced(_boosted_trees())),
    Idea("network of one hidden layer, 128 wide", classifier=lambda: _reduced(_network())),
    Idea("training posts of doubtful labels left out", drops_doubtful=True),
)


def main(
    root: Annotated[Path, typer.Argument(help="Folder of MVSA-Single.")],
    runs: Annotated[Path, typer.Option(help="Where lists of folds go.")] = Path("runs/ideas"),
) -> None:
    """Evaluate each idea on the same five folds, and write its scores at once."""
    set_up_process()
    evaluated = results.read("feature-ideas").get("ideas", {})
    data = DataConfig(name="mvsa-single", root=root, splits=root / "splits")
    found = read_training_posts(data, seed=0)
    posts = [*found.train, *found.dev]
    folds = _fold_numbers(posts, assign_folds(data, FOLDS, runs))
    features = Features(posts)
    for idea in tqdm([one for one in IDEAS if one.name not in evaluated], unit="idea"):
        evaluated[idea.name] = _evaluate(idea, posts, features, folds)
        content = {"posts": len(posts), "folds": FOLDS, "ideas": evaluated}
        results.write("feature-ideas", content)


def _fold_numbers(posts: Sequence[Post], folders: Sequence[Path]) -> Rows:
    """Return the number of the fold in which each post is dev."""
    fold_of = {
        post_id: number
        for number, folder in enumerate(folders)
        for post_id in (folder / "dev.txt").read_text("utf-8").split()
    }
    return np.array([fold_of[post.id] for post in posts])


def _evaluate(
    idea: Idea, posts: Sequence[Post], features: "Features", folds: Rows
) -> dict[str, list[float]]:
    """Return each score of each fold."""
    rows = np.concatenate([features[name] for name in idea.features], axis=1)
    labels = np.array([POLARITIES.index(str(post.label)) for post in posts])
    scores: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for fold in range(FOLDS):
        train, test = np.flatnonzero(folds != fold), folds == fold
        if idea.drops_doubtful:
            train = _without_doubtful(rows, posts, labels, train)
        probabilities = _predict(idea, rows, posts, train, test)
        evaluation = evaluate_predictions(probabilities, labels[test], POLARITIES)
        for metric in METRICS:
            scores[metric].append(round(getattr(evaluation, metric), 4))
    return scores


def _predict(idea: Idea, rows: Rows, posts: Sequence[Post], train: Rows, test: Rows) -> Rows:
    """Return the class probabilities of the test posts by a classifier of the training posts."""

    def fitted(targets: Sequence[int], count: int) -> Rows:
        model = make_pipeline(StandardScaler(), idea.classifier())
        model.fit(rows[train], np.array(targets)[train])
        return _probabilities(model, rows[test], count)

    texts = [POLARITIES.index(str(post.text_label)) for post in posts]
    images = [POLARITIES.index(str(post.image_label)) for post in posts]
    size = len(POLARITIES)
    if idea.head == "label":
        return fitted([POLARITIES.index(str(post.label)) for post in posts], size)
    if idea.head == "apart":
        both = fitted(texts, size)[:, :, None] * fitted(images, size)[:, None, :]
        return _merged(both.reshape(-1, len(PAIRS)))
    pairs = [text * size + image for text, image in zip(texts, images, strict=True)]
    return _merged(fitted(pairs, len(PAIRS)))


def _probabilities(model: Any, rows: Rows, count: int) -> Rows:
    """Return the probability of each of `count` classes; certainty where a model has none."""
    found = np.zeros((len(rows), count))
    if hasattr(model, "predict_proba"):
        found[:, model.classes_] = model.predict_proba(rows)
    else:
        found[np.arange(len(rows)), model.predict(rows)] = 1.0
    return found


def _merged(pairs: Rows) -> Rows:
    """Apply the merge rule to the probabilities of pairs; contradictory ones count for nothing."""
    merged = np.full((len(pairs), len(POLARITIES)), 1e-9)
    for column, (text, image) in zip(pairs.T, PAIRS, strict=True):
        if (label := merge_labels(text, image)) is not None:
            merged[:, POLARITIES.index(label)] += column
    return merged / merged.sum(1, keepdims=True)


def _without_doubtful(rows: Rows, posts: Sequence[Post], labels: Rows, train: Rows) -> Rows:
    groups = list(range(len(train)))
    believed = out_of_fold_probabilities(rows[train], labels[train], groups, len(POLARITIES))
    return train[believed[np.arange(len(train)), labels[train]] >= DOUBTFUL]


def _reduced(classifier: Any) -> Any:
    return make_pipeline(PCA(COMPONENTS, random_state=0), classifier)


def _discriminant() -> Any:
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def _boosted_trees() -> Any:
    return HistGradientBoostingClassifier(learning_rate=0.05, max_iter=150, random_state=0)


def _network() -> Any:
    return MLPClassifier((128,), alpha=1.0, early_stopping=True, random_state=0)


class Features:
    """Frozen features of posts, each computed when it is first used.

    Args:
        posts: Each with text and image.
    """

    def __init__(self, posts: Sequence[Post]) -> None:
        self.posts = posts
        self.texts = [post.text for post in posts]
        self._computed: dict[str, Rows] = {}

    def __getitem__(self, name: str) -> Rows:
        """Return the features of one kind, as (posts, dim)."""
        if name not in self._computed:
            self._computed[name] = FEATURES[name](self).reshape(len(self.posts), -1)
        return self._computed[name]

    @cached_property
    def layers(self) -> Rows:
        """Mean token of each layer of the text encoder, as (posts, layers, dim)."""
        return _text_states(self.texts, "mean")

    @cached_property
    def tokens(self) -> Rows:
        """Tokens of the image encoder, as (posts, tokens, dim)."""
        return _image_tokens(self.posts, SIDE_PX)


def _ngrams(of: Features) -> Rows:
    """Return components of counts of words and of characters; labels play no part in them."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=3)
    reduce = TruncatedSVD(COMPONENTS, random_state=0)
    return np.concatenate(
        [reduce.fit_transform(kind.fit_transform(of.texts)) for kind in (words, letters)], 1
    )


def _lexicon(of: Features) -> Rows:
    """Return shares of positive, neutral and negative words, and their sum."""
    analyzer = SentimentIntensityAnalyzer()
    return np.array([list(analyzer.polarity_scores(text).values()) for text in of.texts])


def _style(of: Features) -> Rows:
    """Return how long the text is, and how many of its characters are of which kind."""
    kinds = (str.isupper, str.isdigit, *(sign.__eq__ for sign in "!?#@.:"))
    counts = [
        [len(text), len(text.split()), *(sum(map(is_of, text)) for is_of in kinds)]
        for text in of.texts
    ]
    return np.array(counts, dtype=np.float64)


def _quarters(of: Features) -> Rows:
    """Return the mean token of each quarter of the image."""
    grid = of.tokens.reshape(-1, GRID, GRID, of.tokens.shape[-1])
    half = GRID // 2
    parts = [slice(None, half + 1), slice(half, None)]
    return np.concatenate([grid[:, a, b].mean((1, 2)) for a in parts for b in parts], 1)


def _objects(of: Features) -> Rows:
    """Return square roots of the probabilities of the image encoder's own classes."""
    classifier = ObjectClassifier.load(EFFICIENTNET_LITE0).layer
    logits = of["image"] @ classifier.weight.detach().numpy().T + classifier.bias.detach().numpy()
    return np.sqrt(softmax(logits, axis=1))


def _products(of: Features) -> Rows:
    """Return products of the first components of text and image."""
    text, image = (
        PCA(16, whiten=True, random_state=0).fit_transform(rows)
        for rows in (of["text"], of["image"])
    )
    return np.einsum("ni,nj->nij", text, image)


def _without_marks(texts: Sequence[str]) -> list[str]:
    return [MARKS.sub(" ", text) for text in texts]


FEATURES: dict[str, Callable[[Features], Rows]] = {
    "text": lambda of: of.layers[:, -4:],
    "last_text": lambda of: of.layers[:, -1],
    "all_text": lambda of: of.layers,
    "largest_text": lambda of: _text_states(of.texts, "max")[:, -1],
    "clean_text": lambda of: _text_states(_without_marks(of.texts), "mean")[:, -4:],
    "ngrams": _ngrams,
    "lexicon": _lexicon,
    "style": _style,
    "image": lambda of: of.tokens.mean(1),
    "largest_image": lambda of: of.tokens.max(1),
    "quarters": _quarters,
    "objects": _objects,
    "colours": lambda of: np.array(list(_seen(of.posts, _colours, "Colours"))),
    "mirrored": lambda of: _image_tokens(of.posts, SIDE_PX, is_mirrored=True).mean(1),
    "large_image": lambda of: _image_tokens(of.posts, LARGE_SIDE_PX).mean(1),
    "products": _products,
}
"""Name of a feature -> how it is computed."""


@torch.inference_mode()
def _text_states(texts: Sequence[str], pooling: str) -> Rows:
    """Return the mean or largest token of each layer, as (posts, layers, dim)."""
    name = ModelConfig().text_encoder
    encoder, tokenizer = load_text_encoder(name).eval(), load_tokenizer(name)
    found = []
    for start in tqdm(range(0, len(texts), BATCH_SIZE), desc="Texts"):
        batch = tokenizer(
            list(texts[start : start + BATCH_SIZE]),
            padding=True,
            truncation=True,
            max_length=SIDE_PX,
            return_tensors="pt",
        )
        states = torch.stack(encoder(**batch, output_hidden_states=True).hidden_states, 1)
        mask = batch["attention_mask"][:, None, :, None].bool()
        if pooling == "mean":
            found.append((states * mask).sum(2) / mask.sum(2))
        else:
            found.append(states.masked_fill(~mask, -torch.inf).amax(2))
    return torch.cat(found).numpy()


def _image_tokens(posts: Sequence[Post], side_px: int, is_mirrored: bool = False) -> Rows:
    """Return the image encoder's tokens, as (posts, tokens, dim)."""
    encoder = load_image_encoder(EFFICIENTNET_LITE0).eval()
    processor = load_image_processor(EFFICIENTNET_LITE0)
    size = {"height": side_px, "width": side_px}

    def pixels(image: Image.Image) -> torch.Tensor:
        shown = ImageOps.mirror(image) if is_mirrored else image
        return processor(shown, size=size, return_tensors="pt")["pixel_values"][0]

    found, waiting = [], []
    for tensor in _seen(posts, pixels, f"Images at {side_px} pixels"):
        waiting.append(tensor)
        if len(waiting) == BATCH_SIZE or len(waiting) + sum(map(len, found)) == len(posts):
            found.append(frozen_image_tokens(encoder, torch.stack(waiting)).half().numpy())
            waiting = []
    return np.concatenate(found).astype(np.float32)


def _seen(posts: Sequence[Post], look: Callable[[Image.Image], Any], title: str) -> Any:
    """Yield what a function makes of each post's image; a white picture replaces a broken one."""

    def made(post: Post) -> Any:
        assert post.image is not None  # each post of MVSA-Single has one
        return look(open_image(post.image, size_hint_px=LARGE_SIDE_PX))

    return tqdm(prefetch(made, posts), total=len(posts), desc=title)


def _colours(image: Image.Image) -> Rows:
    pixels = np.asarray(image.resize((64, 64)).convert("HSV")).reshape(-1, 3)
    histograms = [np.histogram(channel, 12, (0, 256))[0] / len(pixels) for channel in pixels.T]
    return np.concatenate([pixels.mean(0), pixels.std(0), *histograms])


if __name__ == "__main__":
    typer.run(main)
