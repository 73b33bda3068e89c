"""What to do next with a model, by its numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mvcn.errors import count_of
from mvcn.evaluation.baselines import LINEAR, MAJORITY
from mvcn.evaluation.metrics import Evaluation
from mvcn.evaluation.selective_classification import Threshold
from mvcn.report.judgement import best_linear, most_confused
from mvcn.report.rounding import ends, number, percent
from mvcn.report.slices import FEWEST_POSTS
from mvcn.runtime.batches import MODALITIES

LINEAR_OPTIONS = {
    "text": "--model logreg --text-only",
    "image": "--model logreg --columns text=",
    "both": "--model logreg",
}
"""Linear baseline -> options of a training of the same kind."""
MOST_STEPS = 5
WIDE_INTERVAL = 0.2
"""Of an accuracy that says little."""
MANY_TRUNCATED = 0.05
"""Share of texts that are not read to their end."""
BOTH, TEXT_ALONE = MODALITIES[True, True], MODALITIES[True, False]


@dataclass(frozen=True, slots=True)
class Step:
    """A recommendation."""

    text: str
    command: str = ""
    """What to type, or a part of it."""
    section: str = ""
    """Anchor of the part of the page that says more."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What recommendations are derived from."""

    metrics: Mapping[str, Any]
    """Of the run, as in ``metrics.json``."""
    evaluation: Evaluation
    """On held-out posts."""
    learned: Mapping[str, int]
    """Class -> posts of it that the model was trained on."""
    doubtful: int
    """Suspected label errors among the held-out posts."""
    thresholds: Mapping[str, Threshold | None]
    """Target precision -> its threshold, if it can be reached."""
    is_linear: bool = False
    """Whether the model is a linear one."""
    target: str = "accuracy"
    """The score that the run was trained for."""


def next_steps(numbers: Numbers) -> list[Step]:
    """Return the recommendations that the numbers support, the most useful first."""
    finders = (
        _prefer_linear,
        _repair_images,
        _hold_out_more,
        _check_labels,
        _label_weak_class,
        _label_more,
        _read_whole_texts,
        _add_images,
        _find_rare_classes,
        _abstain,
    )
    return [step for find in finders for step in find(numbers)][:MOST_STEPS]


def _prefer_linear(numbers: Numbers) -> Iterator[Step]:
    baselines = numbers.metrics.get("baselines")
    name = best_linear(baselines) if baselines else None
    if baselines is None or name is None or numbers.is_linear:
        return
    found, n = baselines["scores"][name], baselines["posts"]["held_out"]
    right = f"it is right on {percent(found['accuracy'], n)} of the same posts"
    low, high = found["gain_interval"]
    if high < 0:
        yield Step(f"Use a {LINEAR[name]} instead: {right}.", LINEAR_OPTIONS[name], "baselines")
    elif low <= 0 and found["gain"] < 0:
        text = f"Compare it with a {LINEAR[name]}: {right}, which may be chance."
        yield Step(text, LINEAR_OPTIONS[name], "baselines")


def _repair_images(numbers: Numbers) -> Iterator[Step]:
    count, left_out = (
        sum(len(some) for some in numbers.metrics.get(name, {}).values())
        for name in ("bad_images", "left_out")
    )
    if count:
        treated = "left out" if left_out else "judged without an image"
        posts = "its post was" if count == 1 else "their posts were"
        yield Step(f"Correct {count_of(count, 'image')} that could not be read: {posts} {treated}.")


def _hold_out_more(numbers: Numbers) -> Iterator[Step]:
    low, high = numbers.evaluation.intervals["accuracy"]
    if high - low > WIDE_INTERVAL:
        n = numbers.evaluation.n
        yield Step(
            f"Evaluate on more posts: {count_of(n, 'post')} leave an interval of "
            f"{number(high - low, n)} points for the accuracy."
        )


def _check_labels(numbers: Numbers) -> Iterator[Step]:
    if numbers.doubtful:
        n = numbers.evaluation.n
        share = percent(numbers.doubtful / n, n)
        yield Step(
            f"Look at {count_of(numbers.doubtful, 'doubtful label')} ({share} of {n:,}), the least "
            "probable first: a wrong label counts as an error of the model.",
            section="labels",
        )


def _label_weak_class(numbers: Numbers) -> Iterator[Step]:
    """Recommend more posts of the class that is found least, or to look at what it is taken for."""
    present = {name: one for name, one in numbers.evaluation.per_class.items() if one.support}
    weak = min(present, key=lambda name: present[name].recall)
    if present[weak].recall >= numbers.evaluation.accuracy:
        return
    scores, learned = present[weak], numbers.learned.get(weak, 0)
    hits = f"finds {round(scores.recall * scores.support):,} of {scores.support:,}"
    if learned * len(numbers.learned) < sum(numbers.learned.values()):
        yield Step(
            f"Label more posts of {weak!r}: the model was trained on {learned:,} of them and "
            f"{hits}.",
            section="scores",
        )
        return
    confused = most_confused(numbers.evaluation)
    if confused is not None:
        yield Step(
            f"Say more clearly what tells {confused.label!r} from {confused.predicted!r}, and "
            f"label by that: {confused.sentence}.",
            section="confusion",
        )


def _label_more(numbers: Numbers) -> Iterator[Step]:
    curve = numbers.metrics.get("baselines", {}).get("learning_curve")
    if curve is None:
        return
    n, now, twice = numbers.evaluation.n, curve["accuracy"][-1], curve["expected"]["2"]
    if twice[0] > now:
        yield Step(
            f"Label more posts of all classes: with twice as many, about {ends(twice, n)} % "
            f"would be right, where {percent(now, n)} are now, by a linear model's learning curve.",
            section="more-posts",
        )


def _read_whole_texts(numbers: Numbers) -> Iterator[Step]:
    texts = numbers.metrics.get("texts", {}).get("train")
    if texts and texts["texts"] and texts["truncated"] / texts["texts"] >= MANY_TRUNCATED:
        share = percent(texts["truncated"] / texts["texts"], texts["texts"])
        yield Step(
            f"Let the model read whole texts: {share} of them are longer than the "
            f"{texts['max_tokens']} word pieces that it reads.",
            "--set model.max_tokens=auto",
        )


def _add_images(numbers: Numbers) -> Iterator[Step]:
    found = numbers.metrics.get("by_modality", {})
    if not {BOTH, TEXT_ALONE} <= found.keys() or found[TEXT_ALONE]["n"] < FEWEST_POSTS:
        return
    alone, both = found[TEXT_ALONE], found[BOTH]
    if alone["intervals"]["accuracy"][1] < both["intervals"]["accuracy"][0]:
        yield Step(
            f"Add images where posts have none: {percent(alone['accuracy'], alone['n'])} of those "
            f"posts are right, and {percent(both['accuracy'], both['n'])} of posts with an image.",
            section="slices",
        )


def _find_rare_classes(numbers: Numbers) -> Iterator[Step]:
    found, n = numbers.metrics.get("class_balance"), numbers.evaluation.n
    if found is None or numbers.target == "macro-f1":
        return
    before, after = (number(found[f"f1_macro_{when}"], n) for when in ("before", "after"))
    if float(after) > float(before):
        accuracy = (number(found[f"accuracy_{when}"], n) for when in ("before", "after"))
        yield Step(
            f"If rare classes matter as much as frequent ones, train for macro F1: it is {after} % "
            f"in place of {before}, and accuracy {' becomes '.join(accuracy)}.",
            "--for macro-f1",
            "calibration",
        )


def _abstain(numbers: Numbers) -> Iterator[Step]:
    reached = {one: found for one, found in numbers.thresholds.items() if found is not None}
    if reached:
        target, found = max(reached.items(), key=lambda item: float(item[0]))
        n = numbers.evaluation.n
        yield Step(
            f"Give a label only where the model is sure: {percent(found.coverage, n)} of the posts "
            f"get one, and {percent(found.precision, n)} of these are right.",
            f"mvcn predict --precision {target}",
            "abstaining",
        )


def is_better_than_majority(metrics: Mapping[str, Any]) -> bool:
    """Return whether the accuracy is measurably above that of the most frequent class."""
    found = metrics.get("baselines")
    return found is not None and bool(found["scores"][MAJORITY]["gain_interval"][0] > 0)
