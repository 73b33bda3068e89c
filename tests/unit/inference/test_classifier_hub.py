"""Models by folder and by hub name: what is queried and found, and the messages of errors."""

import shutil
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
import transformers
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory

from mvcn.errors import RunError
from mvcn.inference.classifier import Classifier
from mvcn.inference.pipeline import TASK

COMMIT = 40 * "a"
NAME = "someone/posts"
MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


@pytest.fixture(scope="module")
def plain_folder(tiny_run, tmp_path_factory):
    """What model and processor save, and nothing of the run that they come from."""
    folder = tmp_path_factory.mktemp("plain")
    for name in MODEL_FILES:
        shutil.copy(tiny_run / name, folder)
    return folder


@pytest.fixture
def hub_cache(plain_folder, tmp_path, monkeypatch):
    """The cache after a download, with the model as the newest commit; returns the snapshot."""
    model = tmp_path / "models--someone--posts"
    snapshot = model / "snapshots" / COMMIT
    for folder in (model / "blobs", model / "refs", snapshot):
        folder.mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    for path in plain_folder.iterdir():
        shutil.copy(path, model / "blobs")
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return snapshot


@pytest.fixture
def hub(monkeypatch):
    """A hub that can be reached and has nothing; gives the list of what it is asked for."""
    asked = []

    def answer(request):
        asked.append(request.url.path)
        return httpx2.Response(404, headers={"X-Error-Code": "RepoNotFound"})

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(answer)))
    yield asked
    set_client_factory(default_client_factory)


@pytest.fixture
def expected(tiny_run, generated_posts):
    post = generated_posts[0]
    return Classifier.from_pretrained(tiny_run).predict_one(post.text, post.image)


def predict(source, generated_posts, **options):
    post = generated_posts[0]
    return Classifier.from_pretrained(source, **options).predict_one(post.text, post.image)


def test_a_folder_is_loaded_without_a_look_at_the_hub(hub, plain_folder, generated_posts, expected):
    assert predict(plain_folder, generated_posts) == expected
    assert predict(str(plain_folder), generated_posts) == expected
    transformers.pipeline(TASK, model=str(plain_folder))
    assert hub == []


def test_a_name_that_is_no_folder_is_asked_for(hub):
    with pytest.raises(
        RunError, match=f"no folder {NAME}.*that name .it has no such model that you may"
    ):
        Classifier.from_pretrained(NAME)
    assert any(path.startswith(f"/api/models/{NAME}") for path in hub)


def test_a_path_is_never_a_hub_name(hub, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=f"There is no folder {NAME}"):
        Classifier.from_pretrained(Path(NAME))
    assert hub == []


def test_a_folder_of_the_same_name_comes_first(
    hub_cache, plain_folder, generated_posts, expected, tmp_path, monkeypatch
):
    (hub_cache / "model.safetensors").unlink()
    (tmp_path / "someone").mkdir()
    (tmp_path / NAME).symlink_to(plain_folder)
    monkeypatch.chdir(tmp_path)
    assert predict(NAME, generated_posts) == expected


def test_what_the_cache_has_is_enough_offline(hub_cache, generated_posts, expected):
    assert predict(NAME, generated_posts) == expected
    assert predict(NAME, generated_posts, revision=COMMIT) == expected
    ask = transformers.pipeline(TASK, model=NAME)
    first = ask({"text": generated_posts[0].text, "image": generated_posts[0].image})[0]
    assert first["score"] == pytest.approx(expected.probabilities[first["label"]], abs=1e-5)


def test_what_the_cache_has_not_is_told_offline(hub_cache):
    for name, options in (("someone/else", {}), (NAME, {"revision": "v2"})):
        with pytest.raises(RunError) as told:
            Classifier.from_pretrained(name, **options)
        sentence = str(told.value)
        assert "it cannot be reached, and the model is not in the cache" in sentence
        assert ("revision v2" in sentence) == bool(options)
        assert "\n" not in sentence


def test_a_cache_that_cannot_be_written_is_reported(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    def answer(request):
        path = request.url.path
        if "/resolve/" in path:
            headers = {"X-Repo-Commit": COMMIT, "ETag": COMMIT}
            return httpx2.Response(200, content=b"{}", headers=headers)
        file = {"type": "file", "path": "config.json", "size": 2, "oid": COMMIT}
        about = {"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": "config.json"}]}
        return httpx2.Response(200, json=[file] if "/tree/" in path else about)

    set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(answer)))
    try:
        with pytest.raises(RunError, match=r"stored in the cache \(Not a directory.*set HF_HOME"):
            Classifier.from_pretrained(NAME)
    finally:
        set_client_factory(default_client_factory)


def test_a_truncated_download_is_reported(hub_cache):
    (hub_cache / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"is damaged .*copy or train it again"):
        Classifier.from_pretrained(NAME)


@pytest.mark.parametrize("name", ["two words", "/no/such/folder", "a/b/c", "runs/mine/", "~/run"])
def test_what_is_neither_is_reported(name):
    with pytest.raises(
        RunError, match="is neither a folder nor a valid name on the Hugging Face hub"
    ):
        Classifier.from_pretrained(name)
