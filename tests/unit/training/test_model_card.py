"""The model card: every number from the run's files, readable for people and for the hub."""

import json
import re
from copy import deepcopy

import pytest
import yaml
from huggingface_hub import ModelCard

from mvcn.config import RunConfig
from mvcn.training.model_card import model_card
from mvcn.training.run_folder import Run


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config()


@pytest.fixture(scope="module")
def metrics(tiny_run):
    return Run(tiny_run).metrics


@pytest.fixture(scope="module")
def environment(tiny_run):
    return Run(tiny_run).environment


@pytest.fixture
def card(config, metrics, environment):
    """Return a function from a changed metrics and settings to the body of the card."""

    def build(changed=metrics, settings=config, name="run"):
        return model_card(name, settings.to_mapping(), changed, environment).split("---\n", 2)[2]

    return build


def test_the_run_leaves_the_card_that_its_files_give(tiny_run, config, metrics, environment):
    written = (tiny_run / "README.md").read_text("utf-8")
    assert written == model_card("tiny", config.to_mapping(), metrics, environment)


def test_the_hub_can_read_its_head(tiny_run, metrics):
    card = ModelCard.load(tiny_run / "README.md")
    assert card.data.library_name == "mvcn"
    assert "image-text-classification" in card.data.tags
    assert card.data.license is None
    scores = {one.metric_name: one.metric_value for one in card.data.eval_results}
    assert scores == {
        "accuracy (dev)": metrics["dev"]["accuracy"],
        "weighted F1 (dev)": metrics["dev"]["f1_weighted"],
        "macro F1 (dev)": metrics["dev"]["f1_macro"],
    }
    assert {one.dataset_split for one in card.data.eval_results} == {"dev"}


def test_every_number_is_one_of_the_run(tiny_run, config, environment):
    """Change every number of the metrics: each that the card shows changes, too."""
    metrics = Run(tiny_run).metrics
    moved = json.loads(json.dumps(metrics), parse_int=lambda n: int(n) + 4007)
    moved = json.loads(json.dumps(moved), parse_float=lambda x: float(x) + 5)
    settings = config.to_mapping()
    before, after = (model_card("r", settings, one, environment) for one in (metrics, moved))
    scores = metrics["dev"]
    for text, numbers in ((before, metrics), (after, moved)):
        assert f"| posts | {numbers['posts']['train']} | {numbers['posts']['dev']} |" in text
        assert f"| accuracy | {numbers['dev']['accuracy']:.3f} |" in text
        assert f"divided by {numbers['calibration']['temperature']:.3f}" in text
        assert f"({numbers['epochs']['best']} of {numbers['epochs']['trained']} trained)" in text
    old = {f"{value:.3f}" for name, value in scores.items() if isinstance(value, float)}
    old |= {f"{one['f1']:.3f}" for one in scores["per_class"].values()}
    assert [number for number in old if re.search(rf"\b{re.escape(number)}\b", after)] == []


def test_it_says_what_was_left_out_and_which_images_were_bad(card, metrics):
    assert "No post was left out" in card()
    changed = deepcopy(metrics)
    changed["removed"] = {"contradictory labels": 358}
    changed["bad_images"] = {"train": {"a": "is empty", "b": "is empty"}, "dev": {"c": "is empty"}}
    text = card(changed)
    assert "contradictory labels: 358 posts" in text
    assert "| images that could not be read | 2 | 1 |" in text


def test_it_says_how_much_of_the_texts_is_read(card, metrics):
    changed = deepcopy(metrics)
    changed["texts"]["train"] |= {"truncated": 7, "unknown_share": 0.125, "max_tokens": 180}
    text = card(changed)
    assert "| texts of which only the beginning is read | 7 | 0 |" in text
    assert "| word pieces that are not in the vocabulary | 12.5 % | 0.0 % |" in text
    assert "At most 180 word pieces of a text are read." in text
    changed["texts"]["train"]["texts"] = 0
    assert "At most" not in card(changed)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"train": "/home/me/a.csv", "dev": "/home/me/b.csv"}, "are two datasets"),
        ({"train": "/home/me/a.csv"}, "train 90 %, dev 10 %, each class alike, seed 7"),
        ({"root": "/home/me/posts", "splits": "/home/me/splits"}, "Lists of ids say which"),
        ({"root": "/home/me/posts", "splits": "/home/me/fair", "fold": 3}, "Published fold 3 says"),
        ({"root": "/home/me/posts"}, "train 90 %, dev 10 %, each class alike, seed 7"),
    ],
)
def test_it_says_how_posts_were_split_and_nothing_of_folders(card, data, sentence):
    settings = RunConfig.from_mapping({"data": data, "training": {"seed": 7}})
    text = card(settings=settings)
    assert sentence in text
    assert "/home/me" not in text
    assert "text minilm-l6, image efficientnet-lite0" in text


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ("bert", "It reads only the text."),
        ("vit", "It reads only the image."),
        ("mvcn", "may be missing"),
    ],
)
def test_it_says_what_the_network_reads(card, network, sentence):
    assert sentence in card(settings=RunConfig.from_mapping({"model": {"network": network}}))


def test_names_of_people_are_no_markup(config, metrics, environment):
    changed, odd = deepcopy(metrics), "a|b\n# <script>*x*: [y](z) `q`"
    classes = changed["dev"]["per_class"]
    classes[odd] = classes.pop("neutral")
    text = model_card(odd, config.to_mapping(), changed, environment)
    head, body = text.split("---\n", 2)[1:]
    assert yaml.safe_load(head)["model-index"][0]["name"] == odd
    assert "<script" not in re.sub(r"\\.", "", body)
    rows = [re.sub(r"\\.", "", line) for line in body.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} <= {4, 5, 6}
    titles = re.findall(r"(?m)^# .*", body)
    assert len(titles) == 1
    assert ModelCard(text).data.model_name == odd


def test_the_columns_that_were_read_are_one_line(card, metrics):
    lines = card({**metrics, "columns": {"text": "tweet_text", "image": "img"}}).splitlines()
    assert r"- Columns read: text from tweet\_text, image from img." in lines
    others = {name: value for name, value in metrics.items() if name != "columns"}
    assert "Columns" not in card(others)  # of a run from before
