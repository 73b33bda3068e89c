"""What the service answers about posts: the same as Python does."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mvcn.types import Post


def as_json(post, **more):
    image = None if post.image is None else base64.b64encode(post.image).decode()
    return {"id": post.id, "text": post.text, "image": image, **more}


def shares(predictions):
    return np.array([list(one["probabilities"].values()) for one in predictions])


def expected(served, posts, policy="error"):
    found = served.classifier.predict(posts, policy)
    return np.array([list(one.probabilities.values()) for one in found])


def test_a_form_is_one_post(ask, served, generated_posts):
    post = generated_posts[0]
    answer = ask.post("/predict", data={"text": post.text}, files={"image": post.image})
    assert answer.status_code == 200
    (prediction,) = answer.json()["predictions"]
    python = served.classifier.predict_one(post.text, post.image)
    assert prediction["id"] == "0"
    assert prediction["label"] == python.label
    assert prediction["problem"] is None
    assert prediction["probabilities"] == pytest.approx(dict(python.probabilities), abs=1e-5)


def test_json_is_a_batch_in_its_order(ask, served, generated_posts):
    posts = generated_posts[:7]
    answer = ask.post("/predict", json={"posts": [as_json(post) for post in posts]})
    predictions = answer.json()["predictions"]
    assert [one["id"] for one in predictions] == [post.id for post in posts]
    np.testing.assert_allclose(shares(predictions), expected(served, posts), atol=1e-5)


def test_the_columns_of_the_run_are_names_of_fields_too(ask, served, generated_posts, monkeypatch):
    monkeypatch.setattr(served, "columns", {"text": "tweet", "image": "img", "label": "text"})
    post = generated_posts[0]
    image = base64.b64encode(post.image).decode()
    posts = [{"tweet": post.text, "img": image}, {"text": post.text, "image": image}]
    predictions = ask.post("/predict", json={"posts": posts}).json()["predictions"]
    form = ask.post("/predict", data={"tweet": post.text}, files={"img": post.image}).json()
    python = served.classifier.predict_one(post.text, post.image)
    for one in (*predictions, *form["predictions"]):
        assert one["probabilities"] == pytest.approx(dict(python.probabilities), abs=1e-5)
    assert ask.post("/predict", json={"posts": [{"title": "a"}]}).status_code == 422


def test_one_post_alone_is_answered_as_a_batch_of_one(ask, served, generated_posts, monkeypatch):
    monkeypatch.setattr(served, "columns", {"text": "tweet"})
    post = as_json(generated_posts[0])
    theirs = {"tweet": post["text"], **{name: post[name] for name in ("id", "image")}}
    batch = ask.post("/predict", json={"posts": [post]})
    for one in (post, theirs):
        alone = ask.post("/predict", json=one)
        assert alone.status_code == 200, alone.text
        assert alone.json() == batch.json()


def test_ids_are_numbers_unless_given_and_may_repeat(ask, generated_posts):
    first, second, third = map(as_json, generated_posts[:3])
    del first["id"], second["id"]
    third["id"] = "0"
    predictions = ask.post("/predict", json={"posts": [first, second, third]}).json()["predictions"]
    assert [one["id"] for one in predictions] == ["0", "1", "0"]
    assert not np.allclose(*shares([predictions[0], predictions[2]]), atol=1e-6)


@pytest.mark.parametrize("given", [{"text": "a fine day"}, {"image": "picture"}])
def test_a_text_alone_or_an_image_alone_is_enough(ask, served, generated_posts, given):
    post = Post("0", given.get("text", ""), generated_posts[0].image if "image" in given else None)
    answer = ask.post("/predict", json={"posts": [as_json(post)]})
    np.testing.assert_allclose(
        shares(answer.json()["predictions"]), expected(served, [post]), atol=1e-5
    )


def test_the_kind_of_an_image_is_told_by_its_content(ask, generated_posts):
    post = generated_posts[0]
    named = ("evil.exe", post.image, "application/pdf")
    answer = ask.post("/predict", data={"text": post.text}, files={"image": named})
    plain = ask.post("/predict", data={"text": post.text}, files={"image": post.image})
    assert answer.json() == plain.json()


def test_a_whole_number_is_an_id_as_in_a_table(ask):
    batch = {"posts": [{"id": 7, "text": "fine"}, {"id": -1, "text": "dull"}]}
    predictions = ask.post("/predict", json=batch).json()["predictions"]
    assert [one["id"] for one in predictions] == ["7", "-1"]


@pytest.mark.parametrize("image", ["", " \n", None])
def test_an_empty_text_is_no_image(ask, served, image):
    (found,) = ask.post("/predict", json={"posts": [{"text": "fine", "image": image}]}).json()[
        "predictions"
    ]
    assert found["problem"] is None
    np.testing.assert_allclose(shares([found]), expected(served, [Post("0", "fine", None)]))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le"])
def test_json_is_read_in_every_encoding_of_unicode(ask, encoding):
    body = '{"posts": [{"id": "k\u00f6ln", "text": "fine"}]}'.encode(encoding)
    answer = ask.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["predictions"][0]["id"] == "k\u00f6ln"


@pytest.mark.parametrize("image", ["http://localhost/a.png", "/etc/passwd", "PGh0bWw+", "a?b"])
def test_the_policy_is_for_every_image_that_cannot_be_read(ask, served, image):
    batch = {"posts": [{"id": "b", "text": "fine", "image": image}, {"text": "dull"}]}
    first, second = ask.post("/predict?on_bad_image=blank", json=batch).json()["predictions"]
    assert first["problem"].startswith("The image")
    texts = [Post("b", "fine", None), Post("1", "dull", None)]
    np.testing.assert_allclose(shares([first, second]), expected(served, texts), atol=1e-5)
    dropped, kept = ask.post("/predict?on_bad_image=drop", json=batch).json()["predictions"]
    assert dropped == {**first, "label": None, "probabilities": {}}
    assert kept["label"] == second["label"]


@pytest.mark.parametrize("policy", ["error", "blank", "drop"])
def test_a_post_of_a_batch_with_nothing_to_read_gets_no_label(ask, policy):
    batch = {"posts": [{"text": "fine"}, {"id": "b", "text": " \n "}, {}, {"text": "fine"}]}
    answer = ask.post(f"/predict?on_bad_image={policy}", json=batch)
    first, *empty, last = answer.json()["predictions"]
    assert first["label"] == last["label"] is not None
    problem = "The post has neither text nor image: add one of them."
    nothing = {"label": None, "probabilities": {}, "problem": problem, "disagreement": None}
    assert empty == [{"id": one, **nothing} for one in ("b", "2")]


@pytest.mark.parametrize(
    ("body", "text", "count"),
    [
        (
            r'{"posts": [{"id": "\ud83d", "text": "so \uD83D happy \ude00"}]}',
            "so \ufffd happy \ufffd",
            3,
        ),
        (r'{"posts": [{"text": "so \ud83d\ude00 \ud7ff"}]}', "so \U0001f600 \ud7ff", 0),
        (r'{"posts": [{"text": "so \\ud83d"}]}', r"so \ud83d", 0),
        (b'{"posts": [{"text": "so \xed\xa0\xbd"}]}', "so \ufffd", 1),
    ],
)
def test_half_a_surrogate_pair_in_json_is_read_and_logged(ask, caplog, body, text, count):
    headers = {"Content-Type": "application/json"}
    (found,) = ask.post("/predict", content=body, headers=headers).json()["predictions"]
    (expected,) = ask.post("/predict", json={"posts": [{"text": text}]}).json()["predictions"]
    assert found | {"id": "0"} == expected
    assert found["id"] in ("0", "\ufffd")
    told = [one.lone_surrogates for one in caplog.records if one.getMessage() == "replaced"]
    assert sum(told) == count


def test_half_a_surrogate_pair_in_a_name_is_refused(ask):
    body = r'{"posts": [{"text": "fine", "\ud83d": 1}]}'
    answer = ask.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "posts.0.\ufffd" in answer.json()["error"]


def test_half_a_surrogate_pair_in_a_form_is_read(ask):
    half, whole = ({"files": {"text": (None, text)}} for text in (b"so \xed\xa0\xbd", "so \ufffd"))
    for path in ("/predict", "/explain"):
        answers = [
            ask.post(path, **one, headers={"Accept": "application/json"}) for one in (half, whole)
        ]
        assert answers[0].status_code == 200
        assert answers[0].json() == answers[1].json()


TEXTS = {
    "in lines": lambda content: base64.encodebytes(content).decode(),
    "URL-safe": lambda content: base64.urlsafe_b64encode(content).decode(),
    "URL-safe without padding": lambda c: base64.urlsafe_b64encode(c).decode().rstrip("="),
    "data URL": lambda content: "data:image/png;base64," + base64.b64encode(content).decode(),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_an_image_is_base64_text_of_every_kind(ask, generated_posts, kind):
    for post in generated_posts[:3]:
        plain = ask.post("/predict", json={"posts": [{"image": as_json(post)["image"]}]}).json()
        text = TEXTS[kind](post.image)
        assert ask.post("/predict", json={"posts": [{"image": text}]}).json() == plain
        form = ask.post("/predict", files={"image": (None, text)})  # no file, as curl -F image=...
        assert form.json() == plain


class TestBadImages:
    @pytest.fixture
    def batch(self, generated_posts):
        posts = [as_json(post) for post in generated_posts[:3]]
        posts[1]["image"] = base64.b64encode(b"no image").decode()
        return {"posts": posts}

    def test_error_refuses_the_request_and_names_the_post(self, ask, batch):
        answer = ask.post("/predict", json=batch)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(f"Post {batch['posts'][1]['id']!r}: ")
        assert "not an image" in answer.json()["error"]

    def test_blank_classifies_the_text_alone_and_says_why(
        self, ask, served, generated_posts, batch
    ):
        answer = ask.post("/predict?on_bad_image=blank", json=batch)
        predictions = answer.json()["predictions"]
        posts = generated_posts[:3]
        posts[1] = Post("1", posts[1].text, None)
        np.testing.assert_allclose(shares(predictions), expected(served, posts), atol=1e-5)
        problems = [one["problem"] for one in predictions]
        assert problems[0] is problems[2] is None
        assert "not an image" in problems[1]

    def test_blank_gives_no_label_to_a_post_without_a_text(self, ask, batch):
        batch["posts"][1]["text"] = " "
        answer = ask.post("/predict?on_bad_image=blank", json=batch)
        prediction = answer.json()["predictions"][1]
        assert (prediction["label"], prediction["probabilities"]) == (None, {})
        assert "not an image" in prediction["problem"]
        assert ask.post("/predict", json=batch).status_code == 422

    def test_drop_gives_no_label(self, ask, batch):
        predictions = ask.post("/predict?on_bad_image=drop", json=batch).json()["predictions"]
        assert [one["label"] is None for one in predictions] == [False, True, False]
        assert predictions[1]["probabilities"] == {}


def test_an_explanation_says_what_decided(ask, served, generated_posts):
    post = next(post for post in generated_posts if len(post.text.split()) > 1)
    body = {"data": {"text": post.text}, "files": {"image": post.image}}
    answer = ask.post("/explain", **body, headers={"Accept": "application/json"}).json()
    (prediction,) = ask.post("/predict", **body).json()["predictions"]
    assert answer["prediction"] == prediction
    assert answer["method"] == "occlusion"
    assert [one["word"] for one in answer["words"]] == post.text.replace(",", " ,").split()
    picture = ask.post("/explain", **body, headers={"Accept": "image/png"})
    assert picture.headers["content-type"] == "image/png"
    assert base64.b64decode(answer["image_map"]) == picture.content
    assert Image.open(io.BytesIO(picture.content)).format == "PNG"


def test_a_text_without_image_is_explained_by_its_words_alone(ask):
    body = {"files": {"text": (None, "a fine day")}}  # without a file it would be no multipart form
    words = ask.post("/explain", **body, headers={"Accept": "application/json"})
    assert words.json()["image_map"] is None
    picture = ask.post("/explain", **body)
    assert picture.status_code == 422
    assert "no image" in picture.json()["error"]
