"""The script of the guide to plain onnxruntime gives the probabilities of the classifier."""

import re
from pathlib import Path

import pytest
from PIL import Image

from mvcn.inference.classifier import Classifier
from mvcn.training.run import train

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "onnxruntime.md"
TEXTS = ("what a lovely day", "  Such a  DULL, dull one!", "word " * 100)


@pytest.fixture(scope="module")
def ensemble_with_ngrams(tiny_config, tmp_path_factory):
    config = tiny_config(
        data={"dev": None},
        model={"frozen_text_layers": "all", "lower_text_layers": 1, "stack_linear": True},
        training={"members": 2, "epochs": 1, "export": True},
    )
    return train(config, tmp_path_factory.mktemp("runs") / "ensemble").folder


@pytest.mark.parametrize("kind", ["exported_run", "ensemble_with_ngrams"])
def test_the_script_gives_the_probabilities_of_the_classifier(kind, request, tmp_path):
    run = request.getfixturevalue(kind)
    Image.effect_noise((90, 60), 100).convert("RGB").save(tmp_path / "beach.png")
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    code, _, printed = code.replace("runs/mine", str(run)).rpartition("print(")
    assert printed == 'predict("what a lovely day", "beach.jpg"))\n'
    script = {}
    exec(code, script)
    classifier = Classifier.from_pretrained(run)
    for text in TEXTS:
        found = script["predict"](text, tmp_path / "beach.png")
        expected = classifier.predict_one(text, tmp_path / "beach.png").probabilities
        assert found == pytest.approx(expected, abs=1e-5)
