"""The code of README.md and of the guides for programs runs as it stands there."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from mvcn.data.synthetic import generate_posts
from tests.system import service_process

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8000"
ON_THE_HUB = "someone/posts"


def code_of(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)


@pytest.fixture
def names(tiny_run, posts_table, tmp_path, monkeypatch):
    """What the code speaks of, in a folder with ``runs/mine``, ``beach.jpg`` and ``rain.jpg``."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/mine").symlink_to(tiny_run)
    for target, source in zip(("beach.jpg", "rain.jpg"), posts_table.rglob("*.png"), strict=False):
        shutil.copy(source, target)
    posts = [{"text": post.post.text} for post in generate_posts(5, seed=0)]
    features, labels = torch.randn(10, 6, requires_grad=True), torch.arange(10)
    logits, loss = torch.randn(10, 10), torch.nn.functional.cross_entropy
    return {
        **{"posts": posts, "features": features, "labels": labels, "logits": logits},
        "cross_entropy": loss,
    }


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/engineer.md"])
def test_code_for_python(page, names):
    blocks = [code for code in code_of(page) if ON_THE_HUB not in code]
    assert len(blocks) >= 2
    for code in blocks:
        exec(code, names)
    assert names["prediction"].label in names["prediction"].probabilities
    if "ask" in names:
        assert len(list(names["ask"](iter(names["posts"]), top_k=1))) == len(names["posts"])
    if "output" in names:
        assert names["output"].logits.shape == (2, 3)
    if "constraint" in names:
        for _ in range(10):  # until there are ten samples of each class to compare with
            names["features"] = torch.randn(10, 6, requires_grad=True)
            exec(code.splitlines()[-1], names)
        names["loss"].backward()
        assert names["features"].grad.abs().sum() > 0


def test_requests_of_the_service(names, tmp_path):
    text = (ROOT / "docs/how-to/serve.md").read_text("utf-8")
    request, _ = re.findall(r"^curl .*$", text, re.M)  # the second one has a key
    shown = json.loads(re.search(r"^({\"predictions.*?)^```", text, re.M | re.S)[1])
    (code,) = code_of("docs/how-to/serve.md")
    process, port = service_process.start(Path("runs/mine").resolve(), tmp_path / "log")
    try:
        here = f"http://127.0.0.1:{port}"
        command = shlex.split(request.replace(ADDRESS, here))
        answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        exec(code.replace(ADDRESS, here), names)
    finally:
        assert service_process.stop(process) == 0
    assert [one.keys() for one in answer["predictions"]] == [shown["predictions"][0].keys()]
    assert [one["id"] for one in names["answers"]] == ["a", "1"]


def test_what_is_published_says_nothing_of_posts_and_machine_and_works(
    mvcn, tiny_ensemble, posts_table, tmp_path
):
    """The folder that the documented upload leaves is used like the run itself."""
    text = (ROOT / "docs/how-to/engineer.md").read_text("utf-8").replace("\\\n", "")
    (line,) = re.findall(r"^hf upload .*$", text, re.M)
    words = shlex.split(line)
    excluded = [word for before, word in pairwise(words) if before == "--exclude"]
    published = shutil.copytree(
        tiny_ensemble,
        tmp_path / "published",
        ignore=shutil.ignore_patterns(*excluded, "checkpoints"),
    )
    names = {path.name for path in published.iterdir()}
    assert not names & {"config.yaml", "out_of_fold_predictions.csv", "dev_predictions.csv"}
    files = [path.read_bytes() for path in published.rglob("*") if path.is_file()]
    here = (tiny_ensemble.parent, posts_table, sys.prefix, Path.home(), ROOT)
    assert not [place for place in here if any(str(place).encode() in file for file in files)]
    table = posts_table / "dev" / "posts.csv"
    for command in (
        ["predict", published, table, "--output", tmp_path / "out.csv"],
        ["evaluate", published, table],
    ):
        code, _, errors = mvcn(*command)
        assert code == 0, errors
