"""What CONTRIBUTING.md promises: how little a new model, a new loss and a new dataset need."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.system.history import require_margin

PACKAGE = Path(__file__).parents[2] / "src" / "mvcn"

MODEL = '''"""A linear classifier on the mean text token."""

from torch import nn

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.pooling import masked_mean


class MeanText(Network):
    """A linear classifier on the mean text token."""

    def __init__(self, text_width: int, num_classes: int, *, has_bias: bool = True) -> None:
        super().__init__()
        self.feature_size = text_width
        self.classifier = nn.Linear(text_width, num_classes, has_bias)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        feature = masked_mean(tokens.text, tokens.text_mask)
        logits = self.classifier(feature)
        return MvcnOutput(logits, feature, logits)
'''
LOSS = '''"""The margin between the class of a post and the others."""

from torch import Tensor
from torch.nn import functional as F


def margin_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return one loss per post."""
    return F.multi_margin_loss(logits, labels, reduction="none")
'''
DATASET = '''"""Posts of text alone, a line each: the class, a tab, the text."""

from pathlib import Path

from mvcn.types import Corpus, Post


def read_lines(root: Path) -> Corpus:
    """Read the file at `root`."""
    rows = [line.split("\\t", 1) for line in root.read_text("utf-8").splitlines()]
    posts = [Post(str(k), text, None, label) for k, (label, text) in enumerate(rows)]
    return Corpus(posts, tuple(sorted({label for label, _ in rows})))
'''


def insert(path, line, before):
    """Write a line in front of the first one that holds `before`."""
    lines = path.read_text("utf-8").splitlines(keepends=True)
    place = next(k for k, found in enumerate(lines) if before in found)
    lines.insert(place, f"{line}\n")
    path.write_text("".join(lines), "utf-8")


def add_model(package):
    (package / "models" / "mean_text.py").write_text(MODEL, "utf-8")
    registry = package / "models" / "registry.py"
    insert(
        registry,
        '    "mean-text": System("mvcn.models.mean_text:MeanText", TEXT, "a test"),',
        '    "mvcn": System(',
    )
    recipe = {"model": {"network": "mean-text"}, "objective": {"congruity_weight": 0.0}}
    (package / "recipes" / "mean-text.yaml").write_text(yaml.safe_dump(recipe), "utf-8")


def add_loss(package):
    (package / "losses" / "margin.py").write_text(LOSS, "utf-8")
    insert(package / "config.py", "    margin_weight: NonNegative = 0.0", "    penalty_weight:")
    term = (
        'Term("margin", settings.margin_weight, lambda batch: batch.mean('
        "margin_losses(batch.output.fused_logits, batch.targets.labels))),"
    )
    objective = package / "losses" / "objective.py"
    insert(objective, f"        {term}", 'Term("penalty"')
    insert(objective, "from mvcn.losses.margin import margin_losses", "from mvcn.losses.")


def add_dataset(package):
    (package / "data" / "datasets" / "lines.py").write_text(DATASET, "utf-8")
    line = '    "lines": "mvcn.data.datasets.lines:read_lines",'
    insert(package / "data" / "datasets" / "__init__.py", line, '    "table":')


@pytest.fixture
def extended(tmp_path):
    """Folder of a copy of the package with a model, a loss and a dataset more."""
    package = tmp_path / "extended" / "mvcn"
    shutil.copytree(PACKAGE, package)  # with what was compiled
    add_model(package)
    add_loss(package)
    add_dataset(package)
    return package.parent


def test_a_new_model_loss_and_dataset_are_trained_with(extended, tiny_options, tmp_path):
    posts = ["good\tlovely tea", "bad\tmiserable soup", "good\twhat a day", "bad\train again"]
    (tmp_path / "posts.tsv").write_text("\n".join(posts * 10), "utf-8")
    command = [sys.executable, "-m", "mvcn", "train", "--model", "mean-text", *tiny_options]
    command += ["--data", "lines", "--root", str(tmp_path / "posts.tsv")]
    command += ["--set", "objective.margin_weight=0.5", "--set", "model.options={has_bias: false}"]
    command += ["--output", str(tmp_path / "run")]
    environment = os.environ | {"PYTHONPATH": str(extended)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))["dev"]["n"] > 0
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text("utf-8"))
    assert settings["model"]["options"] == {"has_bias": False}
    require_margin(tmp_path / "run")
