"""One path from posts to predictions: order, policies, flat memory."""

import json
import re
import shutil
from dataclasses import replace
from io import BytesIO
from itertools import islice

import jaxtyping
import numpy as np
import pytest
from PIL import Image

from mvcn.errors import BadImageError, ConfigError, DataError
from mvcn.inference import classifier
from mvcn.inference.classifier import Classifier
from mvcn.inputs import torch_model
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import MvcnProcessor, build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.runtime.text_counts import TextCounts
from mvcn.types import Post


@pytest.fixture(scope="module")
def trained(tiny_run):
    return Classifier.from_pretrained(tiny_run)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """So that a few posts are many chunks and batches."""
    monkeypatch.setattr(classifier, "POSTS_AT_ONCE", 5)
    monkeypatch.setattr(torch_model, "BATCH_SIZE", 2)


@pytest.fixture
def untyped():
    """As in a program of somebody else, where nothing checks types before `mvcn` does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def given_post(text, image, label="positive"):
    """A post as a program makes it that nobody has checked the types of."""
    post = Post("p1", "", None, label)
    object.__setattr__(post, "text", text)
    object.__setattr__(post, "image", image)
    return post


def shares(predictions):
    return np.array([list(p.probabilities.values()) for p in predictions])


def test_probabilities_sum_to_one_and_the_largest_is_the_label(trained, generated_posts):
    for prediction in trained.predict(generated_posts[:7]):
        assert tuple(prediction.probabilities) == trained.class_names
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-12)
        assert prediction.probabilities[prediction.label] == max(prediction.probabilities.values())
        assert prediction.problem is None


def test_a_class_that_is_not_probable_enough_is_not_given(trained, generated_posts):
    every = list(trained.predict(generated_posts[:7]))
    least = sorted(max(p.probabilities.values()) for p in every)[3]
    sure = list(trained.predict(generated_posts[:7], min_probability=least))
    assert [p.probabilities for p in sure] == [p.probabilities for p in every]
    assert [p.label for p in sure] == [
        p.label if max(p.probabilities.values()) >= least else None for p in every
    ]
    assert [p.label for p in sure].count(None) == 3


def test_order_is_kept_and_chunks_change_nothing(trained, generated_posts, monkeypatch):
    posts = generated_posts[:13]
    in_chunks = list(trained.predict(iter(posts)))
    assert [p.id for p in in_chunks] == [post.id for post in posts]
    monkeypatch.setattr(classifier, "POSTS_AT_ONCE", 256)
    monkeypatch.setattr(torch_model, "BATCH_SIZE", 64)
    np.testing.assert_allclose(shares(trained.predict(posts)), shares(in_chunks), atol=1e-6)
    alone = [trained.predict_one(post.text, post.image) for post in posts]
    np.testing.assert_allclose(shares(alone), shares(in_chunks), atol=1e-6)


def test_posts_are_read_a_chunk_at_a_time(trained, generated_posts):
    taken = []

    def endless():
        while True:
            for post in generated_posts:
                taken.append(post)
                yield post

    assert len(list(islice(trained.predict(endless()), 11))) == 11
    assert len(taken) == 15  # three chunks of five


def test_no_posts_give_no_predictions(trained):
    assert list(trained.predict([])) == []


def test_posts_of_one_id_each_get_their_own_prediction(trained, generated_posts):
    first, second = generated_posts[:2]
    twins = [Post("same", first.text, first.image), Post("same", second.text, second.image)]
    expected = shares([trained.predict_one(p.text, p.image) for p in (first, second)])
    np.testing.assert_allclose(shares(trained.predict(twins)), expected, atol=1e-6)
    assert not np.allclose(*expected, atol=1e-6)


def test_posts_of_one_id_have_images_of_their_own(trained, generated_posts):
    first, second = generated_posts[:2]
    twins = [Post("same", first.text, b"no image"), Post("same", second.text, second.image)]
    texts = [trained.predict_one(first.text), trained.predict_one(second.text, second.image)]
    blank, drop = list(trained.predict(twins, "blank")), list(trained.predict(twins, "drop"))
    np.testing.assert_allclose(shares(blank), shares(texts), atol=1e-6)
    assert [bool(p.problem) for p in blank] == [bool(p.problem) for p in drop] == [True, False]
    np.testing.assert_allclose(shares(drop[1:]), shares(texts[1:]), atol=1e-6)
    labelled = [replace(post, label="positive") for post in twins]
    assert trained.evaluate(labelled, "blank").evaluation.n == 2
    assert trained.evaluate(labelled, "drop").evaluation.n == 1


def test_predict_one_takes_a_path_a_name_or_bytes(trained, generated_posts, tmp_path):
    post, path = generated_posts[0], tmp_path / "a.png"
    path.write_bytes(post.image)
    expected = trained.predict_one(post.text, post.image)
    assert trained.predict_one(post.text, path) == expected
    assert trained.predict_one(post.text, str(path)) == expected


def test_text_alone_and_image_alone_are_enough(trained, generated_posts):
    post = generated_posts[0]
    assert trained.predict_one(post.text).label in trained.class_names
    assert trained.predict_one(image=post.image).label in trained.class_names


def test_predict_one_takes_a_picture_or_an_array(trained, generated_posts):
    post = generated_posts[0]
    expected = trained.predict_one(post.text, post.image)
    with Image.open(BytesIO(post.image)) as picture:
        assert trained.predict_one(post.text, picture) == expected
        assert trained.predict_one(post.text, np.asarray(picture.convert("RGB"))) == expected


def test_missing_values_are_no_text_and_no_image(trained, generated_posts, tmp_path):
    image = generated_posts[0].image
    expected = trained.predict_one("", image)
    for missing in (None, float("nan"), np.float64("nan")):
        assert trained.predict_one(missing, image) == expected
        assert trained.predict_one("fine", missing) == trained.predict_one("fine")
        (found,) = trained.predict([given_post(missing, image)])
        assert replace(found, id="post") == expected
    path = tmp_path / "a.png"
    path.write_bytes(image)
    for name in (str(path), np.str_(path)):
        (found,) = trained.predict([given_post(np.str_(), name)])
        assert replace(found, id="post") == expected


@pytest.mark.parametrize(
    ("text", "image", "message"),
    [
        (0.5, None, "The text of a post must be a string, not float"),
        ("a", 0.5, "The image of a post must be a path.* not float"),
        ("a", np.zeros((2, 2)), "An image array"),
    ],
)
def test_a_text_or_an_image_of_another_type_is_named(trained, text, image, message):
    post = given_post(text, image)
    with pytest.raises(DataError, match=f"^Post 'p1': {message}"):
        list(trained.predict([Post("p0", "a", None), post]))
    with pytest.raises(DataError, match=f"^Post 'p1': {message}"):
        trained.evaluate([post])
    with pytest.raises(DataError, match=message):
        trained.predict_one(text, image)


class Frame:
    """Iterates over the names of its columns, as a data frame does."""

    def __iter__(self):
        return iter(["text", "image"])


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("posts", "kind"),
    [
        (["hello"], "list of str"),
        ([{"text": "x"}], "list of dict"),
        ("hello", "str of str"),
        ({"text": "x"}, "dict of str"),
        (Frame(), "Frame of str"),
        (None, "NoneType"),
        (5, "int"),
        (Post("p1", "a", None), "Post"),
        ([Post("p1", "a", None, "positive"), None], "list of NoneType"),
    ],
)
def test_what_are_no_posts_is_reported(trained, posts, kind):
    message = rf"^Posts must be a list of mvcn.types.Post.*, not {kind}\.$"
    with pytest.raises(DataError, match=message):
        list(trained.predict(posts))
    with pytest.raises(DataError, match=message):
        trained.evaluate(posts)


def test_half_a_surrogate_pair_is_read_as_the_replacement_character(trained, caplog):
    post = Post("p1", "so \ud83d \ude00", None, "positive", attributes=("s\udce9a",))
    whole = Post("p1", "so \ufffd \ufffd", None, "positive", attributes=("s\ufffda",))
    expected = list(trained.predict([whole]))
    assert caplog.messages == []
    assert list(trained.predict([post])) == expected
    assert caplog.messages == ["In the text of 1 post, 3 lone surrogates are replaced by U+FFFD."]
    one = trained.predict_one(post.text)
    assert "post post" not in caplog.text.replace("'", "")
    np.testing.assert_array_equal(shares([one]), shares(expected))
    evaluated = [trained.evaluate([p]).evaluation.to_mapping() for p in (post, whole)]
    assert evaluated[0] == evaluated[1]


@pytest.mark.parametrize("text", ["", "  \n", None, "\u200b", "\ufeff\u2800"])
def test_nothing_cannot_be_classified(trained, text):
    with pytest.raises(DataError, match="neither text nor image"):
        trained.predict_one(text)


class TestPostsWithNothingToRead:
    @pytest.fixture
    def posts(self, generated_posts):
        """Seven posts of which numbers 1 and 5 (in two chunks) have neither text nor image."""
        posts = generated_posts[:7]
        posts[1], posts[5] = (
            Post(p.id, text, None, p.label)
            for p, text in zip((posts[1], posts[5]), " \n", strict=True)
        )
        return posts

    @pytest.mark.parametrize("policy", ["error", "blank", "drop"])
    def test_they_get_no_label_and_the_others_theirs(self, trained, posts, policy):
        found = list(trained.predict(posts, policy))
        assert [p.id for p in found] == [post.id for post in posts]
        empty = [found.pop(5), found.pop(1)]
        assert [(p.label, dict(p.probabilities)) for p in empty] == [(None, {})] * 2
        assert {p.problem for p in empty} == {
            "The post has neither text nor image: add one of them."
        }
        rest = [post for i, post in enumerate(posts) if i not in (1, 5)]
        np.testing.assert_allclose(shares(trained.predict(rest)), shares(found), atol=1e-6)
        assert {p.problem for p in found} == {None}

    def test_they_are_counted_and_not_evaluated(self, trained, posts):
        evaluated = trained.evaluate(posts)
        assert evaluated.evaluation.n == 5
        assert list(evaluated.left_out) == [posts[1].id, posts[5].id]
        assert evaluated.posts == [post for post in posts if post.id not in evaluated.left_out]
        for found, row in zip(
            trained.predict(evaluated.posts), evaluated.probabilities, strict=True
        ):
            assert [*found.probabilities.values()] == pytest.approx(row.tolist(), abs=1e-6)
        rest = [post for i, post in enumerate(posts) if i not in (1, 5)]
        assert evaluated.evaluation.to_mapping() == trained.evaluate(rest).evaluation.to_mapping()

    def test_without_its_bad_image_a_post_may_have_nothing(self, trained, generated_posts):
        posts = [generated_posts[0], Post("bad", " ", b"no image", "positive")]
        found = list(trained.predict(posts, "blank"))[1]
        assert (found.label, dict(found.probabilities)) == (None, {})
        assert "not an image" in found.problem
        assert trained.predict_one(" ", b"no image", "blank") == replace(found, id="post")
        evaluated = trained.evaluate(posts, "blank")
        assert evaluated.evaluation.n == 1
        assert list(evaluated.left_out) == list(evaluated.bad_images) == ["bad"]
        with pytest.raises(BadImageError, match="post 'bad'"):
            list(trained.predict(posts))

    def test_nothing_left_cannot_be_evaluated(self, trained):
        with pytest.raises(DataError, match="every post was left out"):
            trained.evaluate([Post("1", "", None, "positive")])


class TestBadImages:
    @pytest.fixture
    def posts(self, generated_posts, tmp_path):
        """Ten posts, of which numbers 1 and 7 (in two chunks) have images that cannot be read."""
        posts = generated_posts[:10]
        posts[1] = Post("broken", posts[1].text, b"no image", posts[1].label)
        posts[7] = Post("absent", posts[7].text, tmp_path / "absent.jpg", posts[7].label)
        return posts

    def test_error_names_the_post(self, trained, posts):
        with pytest.raises(BadImageError, match="post 'broken'"):
            list(trained.predict(posts))
        with pytest.raises(
            BadImageError, match=r"(?s)2 image(?=.* post 'broken')(?=.* post 'absent')"
        ):
            trained.evaluate(posts)
        with pytest.raises(BadImageError, match="not an image"):
            trained.predict_one("text", b"no image")

    def test_one_image_is_reported_without_an_id(self, trained, tmp_path):
        for image in (b"no image", tmp_path / "absent.jpg"):
            with pytest.raises(BadImageError, match=r"on_bad_image='blank'") as caught:
                trained.predict_one("text", image)
            assert "post post" not in str(caught.value).replace("'", "")
            assert "--images" not in str(caught.value)
            found = trained.predict_one("text", image, "blank")
            assert str(caught.value).startswith(found.problem)

    def test_blank_classifies_the_text_alone_and_gives_the_reason(self, trained, posts):
        predictions = list(trained.predict(posts, "blank"))
        problems = {p.id: p.problem for p in predictions if p.problem}
        assert sorted(problems) == ["absent", "broken"]
        assert "does not exist" in problems["absent"]
        for number in (1, 7):
            alone = trained.predict_one(posts[number].text)
            np.testing.assert_allclose(shares([alone]), shares([predictions[number]]), atol=1e-6)

    def test_drop_leaves_posts_out_and_the_others_as_they_are(self, trained, posts):
        predictions = list(trained.predict(posts, "drop"))
        assert [p.id for p in predictions] == [post.id for post in posts]
        assert [p.id for p in predictions if p.label is None] == ["broken", "absent"]
        assert all((p.label is None) == bool(p.problem) for p in predictions)
        kept = [post for post in posts if post.id not in ("broken", "absent")]
        left = [p for p in predictions if p.label is not None]
        np.testing.assert_allclose(shares(trained.predict(kept)), shares(left), atol=1e-6)

    def test_a_chunk_may_be_dropped_altogether(self, trained, posts):
        (prediction,) = trained.predict(posts[1:2], "drop")
        assert prediction.label is None
        assert prediction.probabilities == {}

    def test_evaluation_counts_them(self, trained, posts):
        blank, drop = trained.evaluate(posts, "blank"), trained.evaluate(posts, "drop")
        assert (blank.evaluation.n, drop.evaluation.n) == (10, 8)
        assert sorted(blank.bad_images) == sorted(drop.bad_images) == ["absent", "broken"]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("policy", ["skip", "Blank", "", None, 0, ["blank"]])
def test_an_unknown_policy_is_refused(trained, generated_posts, policy):
    """It would have to be taken for one of the others, in silence."""
    for attempt in (
        lambda: trained.predict_one("a text", on_bad_image=policy),
        lambda: list(trained.predict(generated_posts[:2], policy)),
        lambda: trained.evaluate(generated_posts[:2], policy),
    ):
        with pytest.raises(ConfigError, match="on_bad_image must be one of error, blank, drop"):
            attempt()


def test_evaluation_needs_labels_that_the_model_knows(trained, generated_posts):
    post = generated_posts[0]
    with pytest.raises(DataError, match="Post 'p1' has no label"):
        trained.evaluate([post, Post("p1", "text", None)])
    with pytest.raises(DataError, match="Post 'p2' has the label 'odd'"):
        trained.evaluate([post, Post("p2", "text", None, "odd")])


def test_evaluating_nothing_is_a_data_error(trained, tmp_path):
    for posts in ([], [Post("1", "a", tmp_path / "absent.png", "positive")]):
        with pytest.raises(DataError, match="every post was left out"):
            trained.evaluate(posts, "drop")


@pytest.mark.parametrize(
    ("network", "given", "message"),
    [
        ("bert", {"image": b"never opened"}, "reads only text: add a text"),
        ("resnet", {"text": "a day"}, "reads only images: add an image"),
    ],
)
def test_a_post_of_which_the_model_reads_nothing_is_an_error(
    tiny_settings, network, given, message
):
    config = ModelConfig(network=network, **tiny_settings)
    trained = Classifier(build_model(config, ("a", "b")), build_processor(config))
    with pytest.raises(DataError, match=message):
        trained.predict_one(**given)
    post = Post("1", given.get("text", ""), given.get("image"), "a")
    found = list(trained.predict([post]))
    assert [(p.label, dict(p.probabilities)) for p in found] == [(None, {})]
    assert re.search(message, found[0].problem)


@pytest.fixture
def taught_without(tiny_run, tmp_path):
    """Return a function that copies a run as if no post had had a text, or an image."""

    def taught_without(missing):
        run = shutil.copytree(tiny_run, tmp_path / missing)
        config = json.loads((run / "config.json").read_text())
        assert config["learned_inputs"] == ["text", "image"]
        config["learned_inputs"].remove(missing)
        (run / "config.json").write_text(json.dumps(config))
        return run

    return taught_without


@pytest.mark.parametrize("missing", ["text", "image"])
def test_what_no_training_post_had_is_ignored_and_warned_of_once(
    taught_without, generated_posts, caplog, missing
):
    run, posts = taught_without(missing), generated_posts[:6]
    without = [replace(post, **{missing: "" if missing == "text" else None}) for post in posts]
    for ask in (lambda one, posts: shares(one.predict(posts)), evaluated):
        taught = Classifier.from_pretrained(run)
        expected = ask(taught, without)
        assert caplog.messages == []
        for _ in range(2):
            np.testing.assert_array_equal(ask(taught, posts), expected)
        (message,) = caplog.messages
        assert message.startswith(f"The {missing}s are ignored, since no post")
        caplog.clear()
    other = "an image" if missing == "text" else "a text"
    alone = Post("1", "so good", None) if missing == "text" else replace(posts[0], text="")
    (found,) = taught.predict([alone])
    assert found.label is None
    assert found.problem.endswith(f": add {other}.")


def evaluated(classifier, posts):
    found = classifier.evaluate(posts).evaluation
    return [found.accuracy, found.f1_weighted]


def test_a_model_of_an_earlier_version_ignores_nothing(
    taught_without, tiny_run, generated_posts, caplog
):
    run = taught_without("image")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"learned_inputs": None}))
    found, expected = (
        shares(Classifier.from_pretrained(one).predict(generated_posts[:3]))
        for one in (run, tiny_run)
    )
    np.testing.assert_array_equal(found, expected)
    assert caplog.messages == []


def test_a_model_of_texts_opens_no_image(tiny_settings, generated_posts, tmp_path):
    config = ModelConfig(network="bert", **tiny_settings)
    trained = Classifier(build_model(config, ("a", "b")), build_processor(config))
    posts = [replace(post, image=tmp_path / "nowhere.jpg") for post in generated_posts[:7]]
    found = list(trained.predict(posts))
    assert [p.problem for p in found] == [None] * 7
    np.testing.assert_array_equal(shares(found), shares(trained.predict(generated_posts[:7])))


class TestTexts:
    """The tiny model reads up to 64 letters, and no Chinese."""

    LONG, FOREIGN = "all is well " * 9, "\u6211\u559c\u6b22 a"

    @pytest.mark.parametrize(
        "ask", [lambda one, posts: list(one.predict(posts)), Classifier.evaluate]
    )
    def test_one_sentence_says_how_many_are_truncated(self, trained, generated_posts, ask, caplog):
        posts = [replace(post, text=self.LONG) for post in generated_posts[:7]]
        posts += [replace(post, text="short") for post in generated_posts[:6]]
        with caplog.at_level("INFO", "mvcn"):
            ask(trained, posts[7:])
            assert caplog.messages == []
            ask(trained, posts)
        (message,) = caplog.messages
        assert message.startswith("7 texts are longer than 64 word pieces")

    def test_one_sentence_says_how_much_is_unknown(self, trained, caplog):
        found = list(trained.predict([Post(str(i), self.FOREIGN, None) for i in range(7)]))
        assert [one.text_counts for one in found] == [TextCounts(1, 0, 4, 3, 64)] * 7
        (message,) = caplog.messages
        assert message.startswith("75.0 % of the word pieces of the texts are not in the vocab")
        assert "--set model.text_encoder=" in message

    def test_posts_one_by_one_give_one_sentence(self, tiny_run, caplog):
        classifier = Classifier.from_pretrained(tiny_run)
        found = [classifier.predict_one(text) for text in ("a", self.LONG, self.LONG)]
        assert [one.text_counts.truncated for one in found] == [0, 1, 1]
        assert len(caplog.messages) == 1

    def test_evaluation_counts_them(self, trained, generated_posts):
        posts = [replace(generated_posts[0], text=text) for text in (self.LONG, self.FOREIGN)]
        assert trained.evaluate(posts).text_counts == TextCounts(2, 1, 66, 3, 64)

    def test_a_model_that_reads_none_counts_none(self, tiny_settings, generated_posts, caplog):
        config = ModelConfig(network="vit", **tiny_settings)
        trained = Classifier(build_model(config, ("a", "b")), build_processor(config))
        caplog.clear()
        (found,) = trained.predict([replace(generated_posts[0], text=self.LONG)])
        assert found.text_counts == TextCounts()
        assert caplog.messages == []

    def test_emoji_are_read_alike_on_all_ways_to_the_model(self, tiny_run, tmp_path):
        text, same = "so good\U0001f44d\U0001f44d", "so good thumbs up thumbs up"
        trained = Classifier.from_pretrained(tiny_run)
        expected = shares([trained.predict_one(same)])
        processor = trained.processor
        processor.save_pretrained(tmp_path)
        (ids,) = processor.tokenize([same])
        encoders = (
            PostEncoder.for_model(trained.model, processor),
            PostEncoder.for_prediction(trained.model.config, processor),
            PostEncoder(MvcnProcessor.from_pretrained(tmp_path), None),
        )
        assert [[*one.encode([Post("1", text, None)]).token_ids] for one in encoders] == [[ids]] * 3
        assert processor([text], [None])["input_ids"].tolist() == [ids]
        np.testing.assert_array_equal(shares([trained.predict_one(text)]), expected)
