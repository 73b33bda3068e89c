"""What a model around an encoder of any family must keep to."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from mvcn.data.images import open_image
from mvcn.encoders.families import IMAGE_FAMILIES, TEXT_FAMILIES
from mvcn.errors import ConfigError
from mvcn.explain.post import explain
from mvcn.explain.saliency import methods_for
from mvcn.inference.classifier import Classifier
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model, join_members
from mvcn.models.classification import MvcnForClassification
from mvcn.runtime.graphs import GraphModel
from mvcn.training.export import write_graphs
from tests import tiny_encoders

CLASSES = ("a", "b", "c")
FAMILIES = TEXT_FAMILIES | IMAGE_FAMILIES
REFUSED = {name for name, family in TEXT_FAMILIES.items() if family.why_not}
CASES = [
    *((name, "text") for name in TEXT_FAMILIES if name not in REFUSED),
    *((name, "image") for name in tiny_encoders.IMAGES),
    *(
        pytest.param((name, "image"), marks=pytest.mark.timm)
        for name in tiny_encoders.IMAGES_OF_TIMM
    ),
]
CONFIGURATIONS = tiny_encoders.TEXTS | tiny_encoders.IMAGES | tiny_encoders.IMAGES_OF_TIMM
READS_ALONE = {"text": "bert", "image": "resnet"}


def test_every_family_has_a_tiny_configuration():
    others = {"timm_wrapper", "efficientnet-lite"}  # the latter in test_efficientnet_lite.py
    assert {*tiny_encoders.TEXTS} == {*TEXT_FAMILIES}
    assert {*tiny_encoders.IMAGES} | others == {*IMAGE_FAMILIES}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def case(request):
    return request.param


@pytest.fixture(scope="module")
def encoder(case, tiny_text_encoder, tmp_path_factory):
    """Folder of a tiny encoder."""
    name, _ = case
    folder = tmp_path_factory.mktemp(name)
    tiny_encoders.save(CONFIGURATIONS[name](), folder, tiny_text_encoder)
    return folder


@pytest.fixture(scope="module")
def settings(case, encoder, tiny_settings):
    return tiny_settings | {f"{case[1]}_encoder": str(encoder)}


def build(settings, **changes):
    torch.manual_seed(0)
    return build_model(ModelConfig(**settings | changes), CLASSES).eval()


@pytest.fixture(scope="module")
def frozen(settings):
    return build(settings, frozen_text_layers="all")


@pytest.fixture(scope="module")
def trained(settings):
    return build(settings, freeze_image_encoder=False)


@pytest.fixture(scope="module")
def processor(settings):
    return build_processor(ModelConfig(**settings))


@pytest.fixture(scope="module")
def batch(processor, generated_posts):
    """Posts with and without a text and an image, whose texts differ in length."""
    texts = ["", "a word", "many more words are here", "good"]
    images = [open_image(post.image, 32, None) for post in generated_posts[:3]]
    return dict(processor(texts, [*images, None]))


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def test_each_trained_weight_takes_part_in_a_step(trained, batch):
    model = copy.deepcopy(trained).train()
    model(**batch).logits.square().sum().backward()
    weights = {name: one for name, one in model.named_parameters() if one.requires_grad}
    assert [name for name, one in weights.items() if one.grad is None] == []
    assert {name.partition(".")[0] for name in weights} >= {"text_encoder", "image_encoder"}
    torch.optim.SGD(weights.values(), 0.01).step()
    assert logits(model.eval(), batch).isfinite().all()


def test_its_layers_can_be_computed_again_for_the_backward_pass(trained, batch):
    model = copy.deepcopy(trained).train()
    model.activation_checkpointing_enable()
    model(**batch).logits.square().sum().backward()
    weights = {name: one for name, one in model.named_parameters() if one.requires_grad}
    assert [name for name, one in weights.items() if one.grad is None] == []


def test_a_frozen_encoder_is_computed_apart_and_is_the_same(frozen, batch):
    held = frozen.frozen_text_layers
    states = held.states(batch["input_ids"], batch["attention_mask"])
    features = frozen.encode_images(batch["pixel_values"])
    apart = {n: t for n, t in batch.items() if n != "pixel_values"}
    found = logits(frozen, apart | {"text_states": states, "image_features": features})
    torch.testing.assert_close(found, logits(frozen, batch), atol=1e-4, rtol=0)


def test_saved_and_loaded_it_is_the_same(trained, batch, tmp_path):
    trained.save_pretrained(tmp_path)
    loaded = MvcnForClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits(loaded, batch), logits(trained, batch), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", [("t5", "text"), ("albert", "text")], indirect=True)
def test_members_are_the_same_when_loaded(settings, batch, tmp_path):
    member = build(settings)
    weights = [{n: w + 0.1 * k for n, w in member.trained_weights().items()} for k in range(2)]
    ensemble = join_members(member, weights)
    ensemble.save_pretrained(tmp_path)
    loaded = MvcnForClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits(loaded, batch), logits(ensemble, batch), atol=1e-6, rtol=0)


def test_a_post_does_not_depend_on_its_batch(trained, batch):
    together = logits(trained, batch)
    for row in range(len(together)):
        one = {name: value[row : row + 1] for name, value in batch.items()}
        length = max(1, int(one["attention_mask"].sum()))
        for name in ("input_ids", "attention_mask"):
            one[name] = one[name][:, :length]
        torch.testing.assert_close(logits(trained, one)[0], together[row], atol=1e-5, rtol=0)


@pytest.mark.families
def test_its_graphs_give_the_same_or_it_says_why_not(
    case, settings, processor, generated_posts, tmp_path
):
    model = build(settings, network=READS_ALONE[case[1]], frozen_text_layers=0)
    model.save_pretrained(tmp_path)
    if case[0] in FAMILIES and not FAMILIES[case[0]].has_graph:
        with pytest.raises(ConfigError, match=r"encoder, .*, cannot become one ONNX graph"):
            write_graphs(model, processor, tmp_path, "")
        return
    write_graphs(model, processor, tmp_path, "")
    graphs = GraphModel(tmp_path, processor)
    first, second, third = generated_posts[:3]
    posts = [first, replace(second, text=""), replace(third, image=None)]
    found, expected = (
        np.array(
            [[*p.probabilities.values()] for p in classifier.predict(posts) if p.probabilities]
        )
        for classifier in (Classifier(graphs, processor), Classifier(model, processor))
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.families
def test_posts_are_explained(trained, processor, generated_posts):
    encoder = PostEncoder.for_prediction(trained.config, processor)
    posts = encoder.encode([replace(generated_posts[0], text="so good a day")])
    for method in methods_for(trained):
        (found,) = explain(trained, processor, posts, method)
        assert found.saliency is not None
        assert found.saliency.isfinite().all()
        assert sum(found.probabilities.values()) == pytest.approx(1)
