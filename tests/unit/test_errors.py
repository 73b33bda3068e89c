"""The words of messages: reasons of libraries within one sentence, and numbers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mvcn.errors import MAX_REASON_LENGTH, count_of, reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("first\n  second."), "first second"),
        (OSError(2, "No such file or directory", "a.csv"), "No such file or directory"),
        (ValueError(), "ValueError"),
        (KeyError("x"), "'x'"),
        (ValueError("a" * 1000), "a" * MAX_REASON_LENGTH),
    ],
)
def test_a_reason_is_one_short_line_without_a_full_stop(error, reason):
    assert reason_of(error) == reason


def test_words_agree_with_their_number():
    assert [count_of(number, "image") for number in (0, 1, 2)] == [
        "0 images",
        "1 image",
        "2 images",
    ]
    assert count_of(1, "post has", "posts have") == "1 post has"
    assert count_of(2, "post has", "posts have") == "2 posts have"


def test_a_torchvision_of_another_pytorch_is_told_from_a_missing_module(tmp_path):
    """As where both are from different indexes, after which Hugging Face can import no model."""
    package = tmp_path / "torchvision"
    package.mkdir()
    nms = "import torch\n\ntorch.library.register_fake('torchvision::nms')(print)\n"
    (package / "__init__.py").write_text(nms, "utf-8")
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2] / "src")])
    rows = [f"text {n},{'good' if n % 2 else 'bad'}" for n in range(40)]
    (tmp_path / "posts.csv").write_text("\n".join(["text,label", *rows]), "utf-8")
    command = [sys.executable, "-m", "mvcn", "train", tmp_path / "posts.csv"]
    command += ["--output", tmp_path / "run"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert "torchvision does not fit PyTorch (operator torchvision::nms does not" in error
    assert "run pip uninstall torchvision, or, if you need timm, run pip install" in error
