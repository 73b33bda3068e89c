"""Settings that do not go together are refused."""

import pytest

from mvcn.config import RunConfig, read_recipe
from mvcn.errors import ConfigError
from mvcn.training.checks import check_compatibility


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
