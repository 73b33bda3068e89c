"""What the service says of itself, to whom, and what it keeps to itself."""

import json
import logging
import re
import shutil
from html.parser import HTMLParser

import pytest

from mvcn.serve.answering import ServedRun
from mvcn.serve.limits import Limits
from mvcn.serve.requests import FORM, JSON
from mvcn.serve.server import JsonLines
from mvcn.training.run_folder import Run

FINE = {"posts": [{"text": "a fine secret"}]}
OPEN = ("/", "/health", "/ready", "/static/index.html", "/openapi.json", "/docs")
LOCKED = ("/model", "/metrics")


def test_the_model_tells_what_it_is_and_takes(ask, served):
    about = ask.get("/model").json()
    assert tuple(about["labels"]) == served.classifier.class_names
    assert about["network"] == "mvcn"
    assert about["reads"] == ["text", "image"]
    assert about["backend"] == "torch"
    assert about["limits"]["posts"] == Limits().posts
    assert about["trained_with"]["packages"] == about["versions"]
    assert about["card"] == (served.run.folder / "README.md").read_text("utf-8")


def test_a_run_without_a_card_is_served(served, service, tmp_path, monkeypatch):
    shutil.copy(served.run.folder / "environment.json", tmp_path)
    monkeypatch.setattr(served, "run", Run(tmp_path))
    with service() as client:
        assert client.get("/model").json()["card"] is None


@pytest.fixture(scope="module")
def locked(service):
    """A client of a service that asks for a key."""
    with service(key="sesame") as client:
        yield client


class TestKey:
    @pytest.mark.parametrize("path", OPEN)
    def test_the_page_and_its_state_need_none(self, locked, path):
        assert locked.get(path).status_code == 200

    @pytest.mark.parametrize("path", LOCKED)
    @pytest.mark.parametrize("sent", [None, "Bearer", "Bearer sesam", "Basic sesame", "Bearer ✓"])
    def test_the_rest_needs_the_right_one(self, locked, path, sent):
        headers = {} if sent is None else {"Authorization": sent.encode()}
        answer = locked.get(path, headers=headers)
        assert answer.status_code == 401
        assert "key" in answer.json()["error"]
        assert answer.headers["www-authenticate"] == "Bearer"

    def test_posts_need_it_before_they_are_read(self, locked):
        assert locked.post("/predict", json=FINE).status_code == 401
        assert locked.post("/explain", content=b"?").status_code == 401
        key = {"Authorization": "Bearer sesame"}
        assert locked.post("/predict", json=FINE, headers=key).status_code == 200
        assert all(locked.get(path, headers=key).status_code == 200 for path in LOCKED)


@pytest.mark.parametrize("path", [*OPEN, *LOCKED, "/nothing"])
def test_no_page_may_ask_another_host(ask, path):
    answer = ask.get(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "http" not in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


class Addresses(HTMLParser):
    """Collects what a page loads or links to."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        assert tag != "style"
        assert tag != "script" or dict(attrs)["src"]
        self.found += [value for name, value in attrs if name in ("href", "src")]


def test_the_docs_name_every_path_and_no_other_host(ask):
    page = ask.get("/docs").text
    schema = ask.get("/openapi.json").json()
    assert all(path in page for path in schema["paths"])
    reader = Addresses()
    reader.feed(page)
    assert not [address for address in reader.found if ":" in address or "//" in address]
    files = [address for address in reader.found if address.startswith("static/")]
    assert files
    assert all(ask.get(f"/{name}").status_code == 200 for name in files)


@pytest.mark.parametrize("kind", [FORM, JSON])
def test_the_examples_of_the_docs_are_answered(ask, kind):
    body = ask.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]
    example = body["content"][kind]["example"]
    sent = {"json": example} if kind == JSON else {"files": {"text": (None, example["text"])}}
    answer = ask.post("/predict", **sent)
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == len(example.get("posts", [example]))


def test_the_docs_ask_for_a_key_where_there_is_one(ask, locked):
    assert 'id="key"' in locked.get("/docs").text
    assert 'id="key"' not in ask.get("/docs").text


def test_the_schema_declares_every_error_in_its_shape(ask):
    schema = ask.get("/openapi.json").json()
    answers = schema["paths"]["/predict"]["post"]["responses"]
    assert set(answers) >= {"200", "400", "401", "408", "413", "415", "422", "429", "503", "504"}
    shapes = {
        answer["content"]["application/json"]["schema"]["$ref"]
        for operations in schema["paths"].values()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        if status != "200"
    }
    assert shapes == {"#/components/schemas/ErrorAnswer"}


def test_requests_are_counted_by_known_names_alone(service):
    with service() as client:
        client.post("/predict", json={"posts": [{"text": "a"}, {"text": "b"}]})
        client.get("/secret-of-a-client")
        text = client.get("/metrics").text
    assert 'mvcn_requests_total{path="/predict",status="200"} 1.0' in text
    assert 'mvcn_requests_total{path="other",status="404"} 1.0' in text
    assert "mvcn_batch_posts_sum 3.0" in text  # the first was to warm up
    assert "mvcn_posts_total 2.0" in text
    assert "mvcn_queue_posts 0.0" in text
    assert "mvcn_word_pieces_total 2.0" in text
    assert "mvcn_ready 1.0" in text
    assert "secret" not in text


class TestLog:
    def test_a_line_a_request_without_what_was_posted(self, ask, caplog):
        with caplog.at_level(logging.INFO, "mvcn.serve"):
            answer = ask.post("/predict?on_bad_image=blank", json=FINE)
            ask.post("/predict", json={"posts": [{"text": 5, "id": "secret"}]})
        lines = [JsonLines().format(record) for record in caplog.records]
        first, second = map(json.loads, lines)
        assert first["id"] == answer.headers["x-request-id"]
        assert (first["path"], first["status"], first["posts"]) == ("/predict", 200, 1)
        assert first["ms"] > 0
        assert (second["status"], second["posts"]) == (422, 0)
        assert "secret" not in "".join(lines)

    def test_truncated_and_unknown_texts_are_counted(self, ask, caplog):
        texts = ["all is well " * 9, "\u6211\u559c\u6b22", "a", "all is well " * 9]
        names = ("mvcn_texts_truncated_total", "mvcn_word_pieces_unknown_total")

        def counts():
            shown = ask.get("/metrics").text
            return [float(re.search(rf"^{name} (\S+)", shown, re.MULTILINE)[1]) for name in names]

        before = counts()
        with caplog.at_level(logging.INFO, "mvcn.serve"):
            ask.post("/predict", json={"posts": [{"text": text} for text in texts]})
            ask.post("/explain", files={"text": (None, texts[0])})
        records = [json.loads(JsonLines().format(record)) for record in caplog.records]
        first, second = (one for one in records if one.get("path") in {"/predict", "/explain"})
        assert (first["posts"], first["truncated"], first["unknown_share"]) == (4, 2, 0.023)
        assert (second["path"], second["truncated"]) == ("/explain", 1)
        assert [now - then for now, then in zip(counts(), before, strict=True)] == [3.0, 3.0]

    def test_a_fault_is_placed_and_not_quoted(self, service, caplog, monkeypatch):
        predict = ServedRun.predict

        def fail(run, posts):
            if posts[0].id != "warm-up":
                raise RuntimeError(posts[0].text)
            return predict(run, posts)

        monkeypatch.setattr(ServedRun, "predict", fail)
        with service() as client, caplog.at_level(logging.INFO, "mvcn.serve"):
            answer = client.post("/predict", json=FINE)
        assert answer.status_code == 500
        log = "\n".join(JsonLines().format(record) for record in caplog.records)
        request_id = re.search(r"under the id (\w+)\.", answer.json()["error"])[1]
        assert request_id in log
        assert "RuntimeError" in log
        assert "test_application.py" in log
        assert "secret" not in log + answer.text

    def test_a_model_that_does_not_work_is_no_service(self, service, monkeypatch, served):
        from starlette.testclient import TestClient

        from mvcn.serve.application import create_app

        monkeypatch.setattr(ServedRun, "predict", lambda run, posts: 1 / 0)
        with TestClient(create_app(served, Limits())) as client:
            while client.get("/health").is_success:
                pass
            assert client.get("/ready").status_code == 503
