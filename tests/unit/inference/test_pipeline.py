"""The Hugging Face pipeline: every kind of input, and each mistake in one sentence."""

import shutil
import subprocess
import sys
import warnings
from io import BytesIO

import datasets
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch.utils.data import Dataset

from mvcn.errors import BadImageError, ConfigError, DataError, RunError
from mvcn.inference.classifier import Classifier
from mvcn.inference.pipeline import TASK, ImageTextClassificationPipeline


@pytest.fixture(scope="module")
def ask(tiny_run):
    return transformers.pipeline(TASK, model=str(tiny_run))


@pytest.fixture(scope="module")
def inputs(generated_posts):
    """Posts with all, without an image, and without a text."""
    both = [{"text": post.text, "image": post.image} for post in generated_posts[:7]]
    return [*both, {"text": both[0]["text"]}, {"text": None, "image": both[1]["image"]}]


@pytest.fixture(scope="module")
def expected(tiny_run, inputs):
    classifier = Classifier.from_pretrained(tiny_run)
    found = [classifier.predict_one(one.get("text") or "", one.get("image")) for one in inputs]
    return [dict(one.probabilities) for one in found]


def agrees(answers, expected):
    answers = list(answers)
    assert len(answers) == len(expected)
    for answer, probabilities in zip(answers, expected, strict=True):
        scores = {one["label"]: one["score"] for one in answer}
        assert scores == pytest.approx(probabilities, abs=1e-5)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
    return True


class Rows(Dataset):
    """What PyTorch calls a dataset."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


@pytest.mark.parametrize(
    "collection", [list, tuple, iter, Rows, lambda rows: (row for row in rows)]
)
def test_every_kind_of_collection_gives_the_probabilities_of_the_classifier(
    ask, inputs, expected, collection
):
    assert agrees(ask(collection(inputs), batch_size=4), expected)


@pytest.mark.parametrize("collection", [Rows, datasets.Dataset.from_list])
def test_other_fields_of_a_data_set_are_not_read(ask, inputs, expected, collection, caplog):
    caplog.set_level("INFO", "mvcn")
    rows = collection([one | {"label": "a", "id": str(n)} for n, one in enumerate(inputs[:7])])
    assert agrees(ask(rows, batch_size=4), expected[:7])
    assert caplog.messages == ["These fields of the dataset are not read: id, label."]
    with pytest.raises(DataError, match=r"not \['label', 'txt'\]"):
        list(ask(collection([{"txt": "a", "label": "b"}])))


def test_batches_are_optional(ask, inputs, expected):
    assert agrees(ask(inputs), expected)
    assert agrees([ask(inputs[0])], expected[:1])


def test_a_picture_in_memory_is_an_image(ask, inputs, expected):
    shown = [
        {"text": one["text"], "image": Image.open(BytesIO(one["image"]))} for one in inputs[:7]
    ]
    assert agrees(ask(shown, batch_size=3), expected[:7])


def test_posts_are_read_as_they_are_needed(ask, inputs):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield inputs[0]

    answers = iter(ask(endless(), batch_size=2))
    for _ in range(5):
        next(answers)
    assert len(taken) <= 6 + 1  # three batches, and the one that is looked at first


def test_top_k_gives_the_first(ask, inputs):
    whole = ask(inputs[:2])
    assert ask(inputs[:2], top_k=2) == [one[:2] for one in whole]
    assert ask(inputs[0], top_k=99) == whole[0]
    one = transformers.pipeline(TASK, model=ask.model, processor=ask.processor, top_k=1)
    assert one(inputs[0]) == whole[0][:1]
    assert one(inputs[0], top_k=None) == whole[0]


def test_nothing_gives_nothing(ask):
    assert ask([]) == []
    assert list(ask(iter([]))) == []


def test_what_it_saves_gives_the_same(ask, inputs, tmp_path):
    ask.save_pretrained(tmp_path)
    assert "custom_pipelines" not in (tmp_path / "config.json").read_text()
    assert not (tmp_path / "preprocessor_config.json").exists()
    again = transformers.pipeline(TASK, model=str(tmp_path))
    assert again(inputs, batch_size=4) == ask(inputs, batch_size=4)
    post = inputs[0]
    found = Classifier.from_pretrained(tmp_path).predict_one(post["text"], post["image"])
    assert agrees([again(post)], [dict(found.probabilities)])


def test_truncated_texts_are_warned_of_once(tiny_run, caplog):
    ask = transformers.pipeline(TASK, model=str(tiny_run))
    ask([{"text": "all is well " * 9}] * 3)
    assert [message[:16] for message in caplog.messages] == ["1 text is longer"]


@pytest.mark.parametrize(
    ("post", "message"),
    [
        (5, "not int"),
        ("a text alone", "not str"),
        (None, "not NoneType"),
        ({"txt": "a"}, r"not \['txt'\]"),
        ({"text": "a", "label": "b"}, "label"),
        ({"text": 5}, "text of a post must be a string, not int"),
        ({"text": 0.5}, "not float"),
        ({"text": "a", "image": 5}, "image of a post must be a path.*not int"),
    ],
)
def test_what_is_no_post_is_reported(ask, inputs, post, message):
    with pytest.raises(DataError, match=message):
        ask(post)
    with pytest.raises(DataError, match=message):
        ask([inputs[0], post], batch_size=2)


@pytest.mark.parametrize(
    "post", [{}, {"text": " "}, {"text": float("nan"), "image": float("nan")}, {"image": ""}]
)
def test_a_post_with_nothing_to_read_has_an_empty_answer(ask, inputs, expected, post):
    with pytest.raises(DataError, match="neither text nor image"):
        ask(post)
    with pytest.warns(
        UserWarning, match="^Post '1' was left out: The post has neither text nor image"
    ):
        answers = ask([inputs[0], post, inputs[1]], batch_size=2)
    assert answers[1] == []
    assert agrees(answers[::2], expected[:2])


def test_missing_values_arrays_and_halves_of_characters_are_read(ask, inputs, expected, caplog):
    array = np.asarray(Image.open(BytesIO(inputs[1]["image"])).convert("RGB"))
    assert agrees([ask({"text": float("nan"), "image": array})], expected[8:])
    assert ask({"text": "so \ud83d"}) == ask({"text": "so \ufffd"})
    assert [one[:31] for one in caplog.messages] == ["In the text of 1 post, 1 lone s"]


class TestBadImages:
    @pytest.fixture
    def posts(self, inputs):
        bad = {"text": "a fine day", "image": b"no image"}
        return [*inputs[:3], bad, inputs[4], {"text": "b", "image": "http://127.0.0.1/a.jpg"}]

    def test_error_stops_and_names_the_post(self, ask, posts):
        with pytest.raises(BadImageError, match=r"^1 image.* post '3': .* known format"):
            ask(posts, batch_size=2)
        with pytest.raises(
            BadImageError, match=r"post '0': Image .http://127.0.0.1/a.jpg. is a web"
        ):
            ask(posts[-1])

    def test_the_answers_before_the_bad_one_are_given(self, ask, posts):
        answers = iter(ask(iter(posts)))
        assert [len(next(answers)) for _ in range(3)] == [3, 3, 3]
        with pytest.raises(BadImageError, match="post '3'"):
            next(answers)

    def test_blank_classifies_the_text_alone_and_warns(self, ask, posts):
        with pytest.warns(
            UserWarning, match="^Post '[35]' was classified without it: .*mage "
        ) as w:
            answers = ask(posts, batch_size=4, on_bad_image="blank")
        assert len(w) == 2
        alone = {one["label"]: one["score"] for one in ask({"text": "a fine day"})}
        assert agrees(answers[3:4], [alone])

    def test_drop_leaves_an_empty_answer_and_warns(self, ask, posts):
        with pytest.warns(UserWarning, match="^Post '[35]' was left out: "):
            answers = ask(posts, batch_size=4, on_bad_image="drop")
        assert [len(one) for one in answers] == [3, 3, 3, 0, 3, 0]

    def test_good_images_warn_of_nothing(self, ask, inputs):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ask(inputs[:2], on_bad_image="drop")
        assert [one for one in caught if "Post" in str(one.message)] == []


def test_an_error_of_the_source_comes_through(ask, inputs):
    def broken():
        yield inputs[0]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(ask(broken(), batch_size=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": "all"}, "top_k is all"),
        ({"on_bad_image": "skip"}, "one of error, blank, drop"),
        ({"function_to_apply": "none"}, "has no argument function_to_apply"),
    ],
)
def test_an_option_that_is_none_is_reported(ask, inputs, options, message):
    with pytest.raises(ConfigError, match=message):
        ask(inputs[0], **options)


def test_models_of_others_are_refused(ask, tiny_text_encoder):
    other = transformers.AutoModel.from_pretrained(tiny_text_encoder)
    with pytest.raises(ConfigError, match="needs an mvcn model, not BertModel"):
        ImageTextClassificationPipeline(model=other, processor=ask.processor)
    with pytest.raises(ConfigError, match="needs the processor saved with the model"):
        ImageTextClassificationPipeline(model=ask.model, tokenizer=ask.processor.tokenizer)


def test_a_tokenizer_without_its_words_is_refused(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(RunError, match="has no vocabulary"):
        transformers.pipeline(TASK, model=str(folder))


@pytest.mark.parametrize("run", ["tiny_run", "tiny_ensemble"])
def test_other_precisions_give_nearly_the_same(request, run, inputs):
    folder = str(request.getfixturevalue(run))
    expected = transformers.pipeline(TASK, model=folder)(inputs)
    found = transformers.pipeline(TASK, model=folder, dtype=torch.bfloat16)(inputs)
    for one, other in zip(expected, found, strict=True):
        scores = {each["label"]: each["score"] for each in other}
        for each in one:
            assert scores[each["label"]] == pytest.approx(each["score"], abs=2e-2)


def test_the_package_itself_stays_light():
    program = "import sys, mvcn; print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
