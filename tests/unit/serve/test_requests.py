"""Every bad request gets one sentence, and never a fault of the service."""

import base64
import io
import json
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from mvcn.serve.answering import ServedRun

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
JSON = {"Content-Type": "application/json"}


def refused(answer, status):
    """Return the one sentence of an answer that must be an error."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    sentence = answer.json()["error"]
    assert sentence.endswith(".")
    return sentence


def part(name, content, filename=None):
    named = f'name="{name}"' if filename is None else f'name="{name}"; filename="{filename}"'
    return f"--b\r\nContent-Disposition: form-data; {named}\r\n\r\n".encode() + content + b"\r\n"


def posts(*entries):
    return json.dumps({"posts": entries}).encode()


def huge_png(width, height):
    """A PNG of few bytes that declares many pixels."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + checksum

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    chunks = chunk(b"IHDR", size + b"\x08\x00\x00\x00\x00") + chunk(b"IDAT", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "not JSON"),
        (b'{"posts": [', 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"\xff\xfe\x00", 400, "not JSON"),
        (b"[]", 422, "the body must be an object"),
        (b"[]", 422, 'send {"posts": [{"text": '),
        (b"fine", 400, 'send {"posts": [{"text": '),
        (b'{"text": 3}', 422, "posts.0.text"),
        (b'{"text": "fine", "img": "x"}', 422, "posts.0.img is not a field"),
        (b'{"text": "fine", "posts": [{"text": "a"}]}', 422, "text is not a field"),
        (b"null", 422, "the body"),
        (b"{}", 422, "posts"),
        (posts(), 422, "posts"),
        (posts("a fine day"), 422, "posts.0"),
        (posts({"text": 3}), 422, "posts.0.text"),
        (posts({"text": "fine", "img": "x"}), 422, "posts.0.img is not a field"),
        (posts({"text": "fine", "img": "x"}), 422, "the fields id, text and image."),
        (posts({"text": "fine", "id": 7.5}), 422, "posts.0.id must be text, a whole"),
        (posts({"text": "fine", "id": True}), 422, "posts.0.id must be text, a whole"),
        (b'{"posts": [{"text": "fine", "text": "dull"}]}', 422, "'text' twice"),
        (b'{"posts": [{"text": "fine"}], "posts": []}', 422, "'posts' twice"),
        (posts({"text": "x" * 10_001}), 422, "more than the 10,000 allowed"),
        (posts(*[{"text": "fine"}] * 65), 422, "more than the 64 allowed"),
        (posts({"id": "b", "image": "data:image/png;base64,"}), 422, "Post 'b': The image"),
        (posts({"text": "a", "id": "b", "image": "PGh0bWw+"}), 422, "Post 'b': The image"),
        (posts({"text": "a"}, {"id": "b", "image": "/a.jpg"}), 422, "Post 'b': The image"),
        (posts({"image": "http://localhost/a.png"}), 422, "addresses are not downloaded"),
        (posts({"image": "/etc/passwd"}), 422, "not the base64"),
        (posts({"image": "../../etc/hosts"}), 422, "not the base64"),
        (posts({"image": "data:image/png;base64,iVBORw0KGgo="}), 422, "is damaged"),
        (posts({"image": "data:image/png;base64,iVBORw0KGgo!"}), 422, "not the base64"),
        (posts({"image": "data:text/plain;base64,YQ=="}), 422, "not the base64"),
        (posts({"image": "köln"}), 422, "not the base64"),
        (posts({"image": base64.b64encode(b"GIF89a").decode()}), 422, "is damaged"),
    ],
)
def test_bad_json_is_refused(ask, body, status, message):
    assert message in refused(ask.post("/predict", content=body, headers=JSON), status)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "truncated"),
        (b"no form", 400, "not a form"),
        (part("text", b"fine"), 400, "truncated"),
        (part("text", b"fine") + part("image", b"\x89PNG", "a.png")[:-20], 400, "truncated"),
        (b"--b\r\nContent-Type: x\r\n\r\nfine\r\n--b--", 400, "no name"),
        (b"--b\r\n" + b"X: y\r\n" * 99 + b"\r\nfine\r\n--b--", 400, "not a form"),
        (b"--b--", 422, "neither text nor image"),
        (part("text", b"") + b"--b--", 422, "neither text nor image"),
        (part("image", b"", "") + b"--b--", 422, "neither text nor image"),
        (part("image", b"", "a.png") + b"--b--", 422, "empty"),
        (part("image", b"hello", "a.png") + b"--b--", 422, "not an image"),
        (part("image", b"data:image/png;base64,a?b") + b"--b--", 422, "not the base64"),
        (part("image", b"http://localhost/a.png") + b"--b--", 422, "not an image"),
        (part("image", b"%!PS-Adobe-3.0 EPSF-3.0", "a.eps") + b"--b--", 422, "not an image"),
        (part("text", b"\xff\xfe") + b"--b--", 422, "not UTF-8"),
        (part("text", b"x" * 10_001) + b"--b--", 422, "more than the 10,000"),
        (part("text", b"a") + part("text", b"b") + b"--b--", 422, "twice"),
        (part("caption", b"a") + b"--b--", 422, "only the fields text and image"),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_bad_forms_are_refused(ask, path, body, status, message):
    assert message in refused(ask.post(path, content=body, headers=FORM), status)


@pytest.mark.parametrize(
    "text", ["\ud800 alone", "\x00", "\u202e\ufeff", "😀" * 3000, "a" * 10_000, "\r\n\t x"]
)
def test_odd_texts_are_classified_or_refused(ask, text):
    answer = ask.post("/predict", content=posts({"text": text}), headers=JSON)
    assert answer.status_code in (200, 400, 422), answer.text


@pytest.mark.parametrize(
    ("width", "height"), [(8000, 8000), (2**31 - 1, 2**31 - 1), (50_000, 1001)]
)
def test_an_image_of_too_many_pixels_is_refused_undecoded(ask, width, height):
    answer = ask.post("/predict", files={"image": huge_png(width, height)})
    assert "allowed: scale it down" in refused(answer, 422)


def test_an_icon_that_hides_a_large_picture_is_refused(ask):
    picture = huge_png(9000, 9000)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(picture), 22)
    icon = struct.pack("<HHH", 0, 1, 1) + entry + picture
    assert "known format" in refused(ask.post("/predict", files={"image": icon}), 422)


def test_half_an_image_is_refused(ask, generated_posts):
    half = generated_posts[0].image[:2000]
    assert "damaged" in refused(ask.post("/predict", files={"image": half}), 422)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_images_of_every_mode_are_read(ask, mode):
    stream = io.BytesIO()
    Image.new(mode, (9, 5)).save(stream, "TIFF" if mode == "CMYK" else "PNG")
    answer = ask.post("/explain", files={"image": stream.getvalue()})
    assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": "; ; ="},
    ],
)
def test_other_types_are_refused(ask, headers):
    answer = ask.post("/predict", content=b'{"posts": [{"text": "fine"}]}', headers=headers)
    assert "send application/json or multipart/form-data" in refused(answer, 415)


def test_a_form_without_boundary_is_refused(ask):
    answer = ask.post("/predict", content=b"", headers={"Content-Type": "multipart/form-data"})
    assert "boundary" in refused(answer, 400)


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/predict?on_bad_images=drop", "use on_bad_image at"),
        ("/predict?on_bad_image=drop&top_k=1", "use on_bad_image at"),
        ("/explain?on_bad_image=drop", "there are none"),
    ],
)
def test_an_unknown_option_is_refused(ask, path, known):
    answer = ask.post(path, content=part("text", b"fine") + b"--b--", headers=FORM)
    assert known in refused(answer, 422)


def test_explanations_are_of_one_post(ask):
    refused(ask.post("/explain", json={"posts": [{"text": "fine"}]}), 415)


def test_what_the_router_refuses_has_the_same_shape(ask):
    refused(ask.get("/nothing"), 404)
    refused(ask.get("/static/../application.py"), 404)
    refused(ask.get("/static/%2e%2e/application.py"), 404)
    answer = ask.get("/predict")
    refused(answer, 405)
    assert answer.headers["allow"] == "POST"
    refused(ask.post("/predict?on_bad_image=hide", json={"posts": [{"text": "fine"}]}), 422)


class TestLimits:
    @pytest.fixture
    def held(self, monkeypatch):
        """While the first event is clear, the model waits with its posts, and sets the second."""
        gate, waits, predict = threading.Event(), threading.Event(), ServedRun.predict

        def predict_later(run, posts):
            waits.set()
            return gate.wait(30) and predict(run, posts)

        gate.set()
        monkeypatch.setattr(ServedRun, "predict", predict_later)
        return gate, waits

    def test_bodies_are_bounded_declared_or_not(self, service):
        with service(body_bytes=1000) as client:
            large = {"content": b"x" * 1001, "headers": JSON}
            assert "larger than" in refused(client.post("/predict", **large), 413)
            undeclared = client.post("/predict", content=iter([b"x" * 600] * 2), headers=JSON)
            assert "larger than" in refused(undeclared, 413)
            assert client.post("/predict", content=posts({"text": "a"}), headers=JSON).is_success

    def test_a_full_queue_says_when_to_come_back(self, service, held):
        (gate, waits), fine = held, {"json": {"posts": [{"text": "fine"}]}}
        with (
            service(queue_posts=2, posts=2, batch_posts=1) as client,
            ThreadPoolExecutor(3) as pool,
        ):
            gate.clear()
            waits.clear()  # which the warm-up has set
            accepted = [pool.submit(client.post, "/predict", **fine)]
            assert waits.wait(30)  # else two others could fill the queue first
            accepted += [pool.submit(client.post, "/predict", **fine) for _ in range(2)]
            deadline = time.monotonic() + 30
            while "mvcn_queue_posts 2.0" not in client.get("/metrics").text:
                assert time.monotonic() < deadline
            answer = client.post("/predict", **fine)
            assert "full" in refused(answer, 429)
            assert int(answer.headers["retry-after"]) >= 1
            gate.set()
            assert [one.result().status_code for one in accepted] == [200] * 3
            assert client.post("/predict", **fine).is_success
            assert "mvcn_posts_rejected_total 1.0" in client.get("/metrics").text

    def test_an_answer_that_takes_too_long_is_given_up(self, service):
        with service(answer_seconds=0.0001) as client:
            answer = client.post("/predict", json={"posts": [{"text": "fine"}]})
            assert "did not answer within" in refused(answer, 504)

    def test_nothing_is_taken_before_and_after(self, service):
        with service() as client:
            for state in ("loading", "stopping", "failed"):
                client.app.state.answering.state = state
                answer = client.post("/predict", json={"posts": [{"text": "fine"}]})
                refused(answer, 503)
                assert "retry-after" in answer.headers
                refused(client.get("/ready"), 503)
                assert client.get("/health").is_success is (state != "failed")
