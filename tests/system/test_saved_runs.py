"""Runs that an earlier version saved: later ones open them and find the same probabilities.

The folders in ``saved_runs`` were written at commit 6440047, on random encoders of one layer, and
nobody writes them anew: what a later version renames has to load under its old name.
"""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

SAVED = Path(__file__).parent / "saved_runs"
POSTS = SAVED / "posts" / "posts.csv"


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def probabilities(row):
    return [float(value) for name, value in row.items() if name.startswith("probability_")]


@pytest.fixture(params=["mvcn", "tgf", "mfs"])
def run(request, tmp_path):
    return Path(shutil.copytree(SAVED / request.param, tmp_path / request.param))


def test_a_saved_run_gives_each_post_the_probabilities_that_it_gave_then(run, tmp_path, mvcn):
    output = tmp_path / "out.csv"
    code, _, errors = mvcn("predict", run, POSTS, "--output", output)
    assert code == 0, errors
    then, now = rows(run / "dev_predictions.csv"), rows(output)
    assert list(then) == list(now)
    for name, row in then.items():
        assert probabilities(now[name]) == pytest.approx(probabilities(row), abs=1e-6)
        assert now[name]["predicted_label"] == row["predicted"]


def test_a_saved_run_evaluates_to_the_scores_that_it_had_then(run, tmp_path, mvcn):
    code, _, errors = mvcn("evaluate", run, "--root", POSTS, "--json", tmp_path / "scores.json")
    assert code == 0, errors
    now = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    then = json.loads((run / "metrics.json").read_text("utf-8"))["dev"]
    for name in ("n", "accuracy", "f1_weighted", "f1_macro", "per_class", "confusion_matrix"):
        assert now[name] == then[name]
    for name in ("negative_log_likelihood", "expected_calibration_error"):
        assert now[name] == pytest.approx(then[name], abs=1e-6)


def test_every_setting_of_a_saved_run_is_known(run):
    from mvcn.training.run_folder import Run

    settings = Run(run).config
    assert settings.model.network == "mvcn"
    assert settings.model.fusion == ("equal" if run.name == "mfs" else "text-guided")
    assert settings.model.mark_whitespace
    assert settings.model.attribute_model is None
    assert settings.objective.unimodal_label_weight == (0.5 if run.name == "mvcn" else 0.0)
    assert settings.data.dev == Path("dev/posts.csv")
    assert (settings.model.num_heads, settings.model.dropout) == (2, 0.1)
    assert (settings.objective.queue_size, settings.training.epochs) == (24, 8)


def test_a_saved_run_is_written_again_with_the_settings_of_today(run, tmp_path):
    from mvcn.training.run_folder import Run

    model, processor = Run(run).model, Run(run).processor
    assert (model.unimodal_label_head is not None) == (run.name == "mvcn")
    model.save_pretrained(tmp_path / "again")
    processor.save_pretrained(tmp_path / "again")
    settings = [
        json.loads((tmp_path / "again" / name).read_text("utf-8"))
        for name in ("config.json", "processor_config.json")
    ]
    earlier = {"annotation_head", "image_words", "mark_blanks"}
    assert not earlier & {name for one in settings for name in one}
    again = Run(tmp_path / "again").model
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)


@pytest.mark.parametrize(
    ("network", "names"),
    [
        ("concat3", {"image_attributes": "image_words"}),
        ("mgnns", {"text_attention": "text_asks", "image_attention": "image_asks"}),
        ("dr-net", {"text_attention": "text_asks", "pair_attention": "pairs_ask"}),
    ],
)
def test_weights_load_by_their_earlier_names(network, names, tiny_settings, tmp_path):
    from mvcn.model_config import ModelConfig
    from mvcn.models.build import build_model
    from mvcn.models.classification import MvcnForClassification

    model = build_model(ModelConfig(network=network, **tiny_settings), ("bad", "good"))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    config["image_words"] = config.pop("image_attributes")
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    weights = load_file(tmp_path / "model.safetensors")
    renamed = re.compile(rf"^(network\.)?({'|'.join(names)})\.")
    earlier = {
        renamed.sub(lambda found: f"{found[1] or ''}{names[found[2]]}.", name): one
        for name, one in weights.items()
    }
    assert len(earlier.keys() - weights.keys()) >= len(names)
    save_file(earlier, tmp_path / "model.safetensors", {"format": "pt"})
    loaded, info = MvcnForClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
