"""Image encoders of timm: tokens are those of its own models, whatever their layout."""

import pytest
import torch
import transformers as hf

from mvcn.encoders.images import image_size, image_tokens
from mvcn.encoders.loading import build_encoder, load_image_encoder, load_pretrained
from mvcn.encoders.tokens import freeze_unused, token_width
from mvcn.errors import ConfigError
from tests import tiny_encoders

PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.timm
architectures = pytest.mark.parametrize("architecture", tiny_encoders.TIMM)


@pytest.fixture
def folder(architecture, tmp_path):
    tiny_encoders.save(tiny_encoders.IMAGES_OF_TIMM[architecture](), tmp_path)
    return tmp_path


@torch.no_grad()
def tokens(encoder):
    return image_tokens(encoder.eval(), PIXELS)


@architectures
def test_tokens_are_what_timm_pools(architecture, folder):
    encoder = load_image_encoder(str(folder))
    found = tokens(encoder)
    own = encoder.timm_model
    assert found.shape == (2, 17 if architecture == "test_vit" else 16, own.num_features)
    assert token_width(encoder.config) == own.num_features
    with torch.no_grad():
        features = own.forward_features(PIXELS)
        if architecture == "test_convnext":  # which normalises the mean
            pooled = features.mean((2, 3))
        else:
            pooled = own.forward_head(features, pre_logits=True)
    mean = found[:, 0] if architecture == "test_vit" else found.mean(1)
    torch.testing.assert_close(mean, pooled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["swin_tiny_patch4_window7_224"])
def test_a_map_with_channels_last_is_read_row_by_row(folder):
    encoder = load_image_encoder(str(folder)).eval()
    with torch.no_grad():
        found = encoder.timm_model.forward_features(PIXELS)
    torch.testing.assert_close(tokens(encoder)[:, 5], found[:, 1, 1])


@architectures
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_saved_in_half_precision_are_read_in_single(folder, dtype):
    encoder = load_image_encoder(str(folder))
    rounded = {name: one.to(dtype) for name, one in encoder.state_dict().items()}
    hf.AutoModel.from_pretrained(folder, dtype=dtype).save_pretrained(folder)
    loaded = load_image_encoder(str(folder))
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    for name, weight in loaded.named_parameters():
        assert torch.equal(weight, rounded[name].float())


@architectures
def test_a_checkpoint_that_timm_has_saved_is_read_and_rebuilt(architecture, tmp_path):
    import timm

    own = timm.create_model(architecture, **tiny_encoders.TIMM[architecture]).eval()
    timm.models.save_for_hf(own, tmp_path, safe_serialization=True)
    encoder = load_image_encoder(str(tmp_path)).eval()
    with torch.no_grad():
        expected = own.forward_features(PIXELS)
        assert torch.equal(encoder(PIXELS).last_hidden_state, expected)
        expected = own(PIXELS)
    classifier = load_pretrained(hf.AutoModelForImageClassification, str(tmp_path), "classifier")
    torch.testing.assert_close(classifier.eval()(PIXELS).logits, expected)
    built = build_encoder(encoder.config)
    built.load_state_dict(encoder.state_dict())
    assert torch.equal(tokens(built), tokens(encoder))


@pytest.mark.parametrize("architecture", ["test_convnext"])
def test_what_the_tokens_do_not_depend_on_is_found_and_frozen(folder):
    encoder = load_image_encoder(str(folder))
    head = {"timm_model.head.norm.weight", "timm_model.head.norm.bias"}
    assert {*encoder.config.unused_weights} == head
    freeze_unused(encoder)
    assert {n for n, weight in encoder.named_parameters() if not weight.requires_grad} == head


def test_the_size_of_images_is_that_of_pretraining():
    config = hf.TimmWrapperConfig(pretrained_cfg={"input_size": [3, 160, 96]})
    assert image_size(config) == (160, 96)
    assert image_size(hf.TimmWrapperConfig()) == (224, 224)


def test_several_last_hidden_states_are_refused(tmp_path):
    config = hf.TimmWrapperConfig(architecture="test_resnet", model_args={"features_only": True})
    tiny_encoders.save(config, tmp_path)
    with pytest.raises(ConfigError, match="'test_resnet' has 5 last hidden states instead of one"):
        load_image_encoder(str(tmp_path))
