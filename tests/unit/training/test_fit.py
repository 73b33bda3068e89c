"""What a model cannot be trained with is told before its first step."""

import pytest

from mvcn.errors import ConfigError
from mvcn.training.run import train
from tests import tiny_encoders


def test_layers_that_cannot_be_computed_again_are_told(tiny_config, tmp_path):
    tiny_encoders.save(tiny_encoders.IMAGES["mobilenet_v1"](), tmp_path / "encoder")
    config = tiny_config(
        model={"network": "resnet", "image_encoder": str(tmp_path / "encoder")},
        training={"gradient_checkpointing": True},
    )
    with pytest.raises(ConfigError, match=r"gradient_checkpointing' is true, but .*: set it to f"):
        train(config, tmp_path / "run")
