"""Encoders against the libraries that published them, on the same weights."""

import pytest
import torch
import transformers

from mvcn.encoders.efficientnet_lite import BATCH_NORM_EPS
from mvcn.encoders.images import image_tokens
from mvcn.encoders.loading import (
    PACKAGED,
    load_image_encoder,
    load_text_encoder,
    load_tokenizer,
    packaged_folder,
    sentiment_words,
)
from mvcn.encoders.tokens import text_tokens
from mvcn.errors import ConfigError
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.models.image_attributes import ImageAttributes, PublishedAttributes
from mvcn.models.objects import ObjectClassifier, arguments_of
from tests import tiny_encoders

STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}
NONE = torch.zeros(0, 0, dtype=torch.long)


def test_efficientnet_lite0_agrees_with_the_package_that_published_it():
    from efficientnet_lite_pytorch import EfficientNet

    (file,) = PACKAGED["efficientnet-lite0"].sha256
    published = EfficientNet.from_name("efficientnet-lite0").eval()
    path = packaged_folder("efficientnet-lite0") / file
    published.load_state_dict(torch.load(path, weights_only=True))
    assert published._bn0.eps == BATCH_NORM_EPS
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        ours = image_tokens(load_image_encoder("efficientnet-lite0"), pixels)
        theirs = published.extract_features(pixels)
    assert ours.shape == (2, 49, 1280)
    rows = torch.stack([theirs[:, :, r, c] for r in range(7) for c in range(7)], 1)
    torch.testing.assert_close(ours, rows, atol=1e-4, rtol=0)


def test_minilm_agrees_with_hugging_face_on_real_text():
    encoder = load_text_encoder("minilm-l6").eval()
    tokenizer = load_tokenizer("minilm-l6")
    direct = transformers.BertModel.from_pretrained(packaged_folder("minilm-l6")).eval()
    batch = tokenizer(["a fine day", "rain, again and again"], padding=True, return_tensors="pt")
    with torch.no_grad():
        ours = text_tokens(encoder, batch["input_ids"], batch["attention_mask"])
        theirs = direct(**batch).last_hidden_state
    assert torch.equal(ours, theirs)


def test_a_text_encoder_by_folder_agrees_with_hugging_face(tiny_text_encoder):
    encoder = load_text_encoder(str(tiny_text_encoder)).eval()
    direct = transformers.BertModel.from_pretrained(tiny_text_encoder).eval()
    ids = torch.tensor([[2, 7, 8, 3], [2, 9, 3, 0]])
    mask = (ids > 0).long()
    theirs = direct(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(text_tokens(encoder, ids, mask), theirs)


@pytest.mark.parametrize(
    "config",
    [
        transformers.ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            image_size=64,
            patch_size=16,
        ),
        transformers.ResNetConfig(embedding_size=8, layer_type="basic", **STAGES),
        transformers.ConvNextConfig(num_stages=2, **STAGES),
    ],
    ids=lambda config: config.model_type,
)
def test_an_image_encoder_by_folder_agrees_with_hugging_face(config, tmp_path):
    torch.manual_seed(0)
    direct = transformers.AutoModel.from_config(config).eval()
    direct.save_pretrained(tmp_path)
    pixels = torch.rand(2, 3, 64, 64)
    theirs = direct(pixel_values=pixels).last_hidden_state
    if theirs.ndim == 4:  # a feature map: its cells in the order in which one reads
        _, _, height, width = theirs.shape
        cells = [theirs[:, :, r, c] for r in range(height) for c in range(width)]
        theirs = torch.stack(cells, 1)
    ours = image_tokens(load_image_encoder(str(tmp_path)).eval(), pixels)
    torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


def test_objects_are_those_of_the_package_that_published_the_image_encoder():
    from efficientnet_lite_pytorch import EfficientNet

    (file,) = PACKAGED["efficientnet-lite0"].sha256
    published = EfficientNet.from_name("efficientnet-lite0").eval()
    path = packaged_folder("efficientnet-lite0") / file
    published.load_state_dict(torch.load(path, weights_only=True))
    ours = build_model(ModelConfig(network="multisentinet"), ("a", "b")).eval()
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        image = ours.encode_images(pixels)
        objects = ours.image_attributes.objects(image, torch.ones(2, 49, dtype=torch.bool))
        theirs = published(pixels).softmax(-1)
    # Ours go through features of half precision.
    torch.testing.assert_close(objects, theirs, atol=1e-3, rtol=0)
    assert len(objects[0]) == 1000


def test_names_of_objects_are_those_of_imagenet():
    published = ObjectClassifier.load("efficientnet-lite0")
    assert (published.names[1], published.names[207]) == ("goldfish", "Golden Retriever")
    assert len(set(sentiment_words())) == len(sentiment_words()) > 500
    assert "horrible" in sentiment_words()


def test_a_vision_transformer_names_objects_from_its_first_token(tiny_image_encoder):
    ours = build_model(
        ModelConfig(network="multisentinet", image_encoder=str(tiny_image_encoder)), ("a", "b")
    ).eval()
    theirs = transformers.ViTForImageClassification.from_pretrained(tiny_image_encoder).eval()
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        image = ours.encode_images(pixels)
        objects = ours.image_attributes.objects(
            image, torch.ones(image.shape[:2], dtype=torch.bool)
        )
        torch.testing.assert_close(objects, theirs(pixels).logits.softmax(-1), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "name",
    [
        *tiny_encoders.IMAGE_CLASSIFIERS,
        *(pytest.param(name, marks=pytest.mark.timm) for name in tiny_encoders.TIMM),
    ],
)
def test_any_image_encoder_names_the_objects_that_hugging_face_names(name, tmp_path):
    config = (tiny_encoders.IMAGES | tiny_encoders.IMAGES_OF_TIMM)[name]()
    theirs = tiny_encoders.save_classifier(config, tmp_path)
    classifier = ObjectClassifier.load(str(tmp_path))
    ours = ImageAttributes(**arguments_of(classifier), name_length=1).eval()
    ours.fill(PublishedAttributes(classifier, torch.zeros(7, 1, dtype=torch.long), NONE))
    pixels = torch.randn(3, 3, tiny_encoders.PIXELS, tiny_encoders.PIXELS)
    pixels += torch.tensor([-2.0, 0.0, 2.0]).view(3, 1, 1, 1)
    with torch.no_grad():
        image = image_tokens(load_image_encoder(str(tmp_path)).eval(), pixels)
        found = ours.objects(image, torch.ones(image.shape[:2], dtype=torch.bool))
        expected = theirs(pixel_values=pixels).logits.softmax(-1)
    assert expected.std(0).min() > 1e-4, "images that all look alike would prove nothing"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert classifier.names == tuple(f"thing {number}" for number in range(7))


def test_a_classifier_that_reads_more_than_the_tokens_is_refused(tmp_path):
    """PoolFormer normalises its whole feature map before the mean."""
    tiny_encoders.save_classifier(tiny_encoders.IMAGES["poolformer"](), tmp_path)
    with pytest.raises(ConfigError, match=r"object classifier of .* is not supported"):
        ObjectClassifier.load(str(tmp_path))
