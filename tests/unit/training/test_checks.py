"""Settings that do not go together are refused."""

import pytest

from mvcn.config import RunConfig, read_recipe
from mvcn.errors import ConfigError, DataError
from mvcn.training.checks import check_compatibility, check_training


@pytest.mark.parametrize("network", ["concat3", "mgnns", "hsan", "dr-net"])
def test_words_are_compared_with_tokens_of_one_layer(network):
    config = RunConfig.from_mapping({"model": {"network": network, "lower_text_layers": 1}})
    with pytest.raises(ConfigError, match="compares words with the text encoder's embeddings"):
        check_compatibility(config)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_adapters_are_refused_of_encoders_that_are_not_trained(kind):
    config = read_recipe("logreg")
    config.set([f"model.{kind}_adapter.rank=4"])
    with pytest.raises(ConfigError, match=f"frozen encoders: leave out model.{kind}_adapter"):
        check_compatibility(config)


def test_classes_of_very_few_posts_are_named_before_anything_is_computed(tmp_path, caplog):
    rows = [f"text {n},{'rare' if n == 0 else 'common' if n < 20 else 'other'}" for n in range(40)]
    (tmp_path / "posts.csv").write_text("\n".join(["text,label", *rows]))
    settings = {"data": {"root": tmp_path / "posts.csv"}, "training": {"members": 2}}
    config = RunConfig.from_mapping(settings)
    check_training(config, tmp_path / "run", resume=False, overwrite=False)
    assert "Too few training posts to learn 'rare' (1 post): add posts" in caplog.text
    assert "common" not in caplog.text.rpartition("Too few")[2]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("good", "all training posts are labelled 'good': add posts of another class"),
        ("", "the training posts have no label"),
    ],
)
def test_a_training_needs_two_classes(tmp_path, label, message):
    rows = [f"text {n},{label}" for n in range(20)]
    (tmp_path / "posts.csv").write_text("\n".join(["text,label", *rows]))
    config = RunConfig.from_mapping({"data": {"root": tmp_path / "posts.csv"}})
    with pytest.raises(DataError, match=message):
        check_training(config, tmp_path / "run", resume=False, overwrite=False)
