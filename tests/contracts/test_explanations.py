"""Every model can be explained, by all that it reads and nothing else."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import pad

from mvcn.config import RunConfig, read_recipe
from mvcn.explain.figures import draw_post
from mvcn.explain.post import explain
from mvcn.explain.saliency import methods_for, word_saliency
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.images import image_inputs
from mvcn.inputs.processor import build_processor
from mvcn.models.build import build_model
from mvcn.models.registry import MODELS, system

CLASSES = ("negative", "neutral", "positive")
READ_TEXT = [name for name in MODELS if "text" in system(name).reads]


@pytest.fixture(scope="module", params=MODELS)
def built(request, tiny_settings):
    """A model, untrained but with weights so large that words matter, and its processor."""
    config: RunConfig = read_recipe(request.param)
    config.update({"model": tiny_settings | {"frozen_text_layers": 0, "text_layers": None}})
    torch.manual_seed(0)
    model = build_model(config.model, CLASSES).eval()
    for weight in model.network.parameters():
        if weight.dim() > 1:
            torch.nn.init.xavier_normal_(weight)
    return SimpleNamespace(model=model, processor=build_processor(config.model))


def test_posts_are_explained(built, generated_posts):
    model, processor = built.model, built.processor
    assert methods_for(model)[-1] == "occlusion"
    posts = PostEncoder.for_model(model, processor).encode(generated_posts[:1])
    for method in methods_for(model):
        (found,) = explain(model, processor, posts, method)
        assert sum(found.probabilities.values()) == pytest.approx(1)
        assert bool(found.words) == (model.text_encoder is not None)
        assert (found.saliency is not None) == (model.image_encoder is not None)
        if found.saliency is not None:
            assert found.saliency.isfinite().all()
    assert draw_post(found).startswith(b"\x89PNG")


@pytest.mark.parametrize("built", READ_TEXT, indirect=True)
class TestWords:
    @pytest.fixture(params=["all is well, never worse again", "well"])
    def post(self, request, generated_posts):
        return replace(generated_posts[0], text=request.param)

    @pytest.fixture
    def words(self, built, post):
        return built.processor.words(post.text)

    @pytest.fixture
    def inputs(self, built, post):
        return PostEncoder.for_model(built.model, built.processor).encode([post]).inputs([0])

    def test_are_worth_what_is_lost_in_the_post_without_them(self, built, post, words, inputs):
        texts = [word for word, _ in words]
        without = [
            replace(post, text=" ".join(texts[:number] + texts[number + 1 :]))
            for number in range(len(texts))
        ]
        whole, *rest = (log_probabilities(built, one) for one in (post, *without))
        expected = torch.stack([(whole - other)[whole.argmax()] for other in rest])
        assert expected.abs().max() > 1e-4
        found = word_saliency(built.model, inputs, [pieces for _, pieces in words])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)

    @pytest.mark.parametrize("widths", [(5, 0), (0, 5)], ids=["left", "right"])
    def test_are_worth_the_same_on_either_side_of_padding(self, built, words, inputs, widths):
        pieces = [positions for _, positions in words]
        padded = {name: pad(inputs[name], widths) for name in ("input_ids", "attention_mask")}
        found = word_saliency(built.model, {**inputs, **padded}, pieces)
        assert torch.equal(found, word_saliency(built.model, inputs, pieces))


def log_probabilities(built, post):
    """What the model says of one post, alone in its batch."""
    images = image_inputs(built.model, built.processor)
    inputs = PostEncoder(built.processor, images).encode([post]).inputs([0])
    with torch.no_grad():
        return built.model(**inputs).logits[0].double().log_softmax(-1)
